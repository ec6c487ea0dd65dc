"""AP-MAE: a masked autoencoder over attention patterns, as a Hugging Face model.

Importing this package registers it, so `AutoConfig` and `AutoModel` know `ap_mae`.
"""

from transformers import AutoConfig, AutoModel

from apmae.autoencoder.configuration_apmae import APMAEConfig
from apmae.autoencoder.modeling_apmae import APMAEModel, APMAEOutput
from apmae.autoencoder.precision import autocasting
from apmae.autoencoder.tokens import PatternTokens, tokenize, tokens_of

AutoConfig.register(APMAEConfig.model_type, APMAEConfig)
AutoModel.register(APMAEConfig, APMAEModel)

__all__ = [
    "APMAEConfig",
    "APMAEModel",
    "APMAEOutput",
    "PatternTokens",
    "autocasting",
    "tokenize",
    "tokens_of",
]
