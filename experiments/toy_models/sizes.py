"""The toy models: their shapes and how long they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from transformers import Starcoder2Config

from apmae.common.errors import ApmaeError
from experiments.toy_models.tokenizer import END, PAD

HERE = Path(__file__).parent
"""Each toy model has a directory here."""

SEED = 0
ROW_TOKENS = 320
"""Tokens per training row: a study's prompt of 256, with room for the middle that follows it."""


@dataclass(frozen=True)
class ToyModel:
    """One model to train.

    `steps` x `batch_rows` x `ROW_TOKENS` tokens are chosen to take under 90 minutes on two CPU cores.
    """

    name: str
    n_layers: int
    n_heads: int
    n_key_value_heads: int
    hidden_size: int
    intermediate_size: int
    steps: int
    batch_rows: int

    def config(self, tokenizer: Tokenizer) -> Starcoder2Config:
        """The model's configuration, with tied embeddings and no dropout."""
        end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
        return Starcoder2Config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.n_layers,
            num_attention_heads=self.n_heads,
            num_key_value_heads=self.n_key_value_heads,
            max_position_embeddings=ROW_TOKENS,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=pad,
            tie_word_embeddings=True,
        )


TOY_MODELS = {
    toy_model.name: toy_model
    for toy_model in (
        ToyModel("java-fim-4m", 6, 8, 2, 256, 512, steps=2_800, batch_rows=32),
        ToyModel("java-fim-12m", 8, 12, 4, 384, 896, steps=1_600, batch_rows=32),
    )
}


def toy_model_named(name: str) -> ToyModel:
    """PromptView a toy model up.

    Raises:
        ApmaeError: there is none of that name.
    """
    if name not in TOY_MODELS:
        raise ApmaeError(f"unknown toy model {name!r}; there are: {', '.join(TOY_MODELS)}")
    return TOY_MODELS[name]
