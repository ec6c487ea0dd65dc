"""`encoder.pretrained`: an AP-MAE trained elsewhere, in place of the study's own."""

from __future__ import annotations

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.saved_model import load_config
from apmae.common.errors import ApmaeError
from apmae.study.config import StudyConfig


def pretrained_encoder(config: StudyConfig) -> APMAEModel:
    """Load `encoder.pretrained`.

    Raises:
        ApmaeError: the model does not exist, or its patterns and the prompts differ in size.
    """
    assert config.encoder.pretrained is not None
    check_pretrained(config)
    return APMAEModel.from_pretrained(config.encoder.pretrained)


def check_pretrained(config: StudyConfig) -> None:
    """Check by its config alone that `encoder.pretrained`, if set, fits the study's patterns.

    Raises:
        ApmaeError: the model does not exist, or its patterns and the prompts differ in size.
    """
    if config.encoder.pretrained is None:
        return
    model_config, _ = load_config(config.encoder.pretrained, {}, {})
    size, asked = model_config.pattern_size, config.prompts.length_tokens
    if size != asked:
        raise ApmaeError(
            f"encoder.pretrained {config.encoder.pretrained!r} reads patterns of {size} tokens, "
            f"but prompts.length_tokens is {asked}"
        )
