"""Where the models with known heads lie, and how they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from apmae.target_model import Head, Target
from experiments.ground_truth.plain_transformer import PlainForCausalLM
from experiments.ground_truth.sequences import BOS

MODELS = Path(__file__).parent / "models"
"""A directory for each model: config.json, model.safetensors, tokenizer.json."""


def tokenizer_of(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows whole words, with their ids in order."""
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=BOS))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS)


def save(model: PlainForCausalLM, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Write a model and its tokenizer to `MODELS`."""
    model.save_pretrained(MODELS / name)
    tokenizer.save_pretrained(MODELS / name)


def load(name: str) -> Target:
    """One of `MODELS` as a target, in float32, which compiled weights need.

    Raises:
        ApmaeError: there is no such model.
    """
    return Target.load(str(MODELS / name), dtype="float32")


def known_heads(target: Target) -> list[Head]:
    """The heads that the model was compiled of or trained with."""
    return [(layer, head) for layer, head in target.model.config.known_heads]
