"""The target's predictions: whether they are correct, and how confident."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOP_TOKENS = 20
"""Next tokens whose log probabilities are kept."""

CACHED_LOGITS = 1 << 18
"""Logits that are read at a time on a CPU: 1 MiB of float32, so that they stay in a core's cache."""


class Outcomes(NamedTuple):
    """One row per prompt.

    Attributes:
        predicted_id: (B,) int64, argmax of the logits.
        correct: (B,) bool, whether the prediction is the true token.
        next_token_probability: (B,) float32, probability of the true token.
        max_probability: (B,) float32.
        margin: (B,) float32, largest minus second largest probability.
        entropy: (B,) float32, nats.
    """

    predicted_id: Tensor
    correct: Tensor
    next_token_probability: Tensor
    max_probability: Tensor
    margin: Tensor
    entropy: Tensor


def top_log_probs(logits: Tensor) -> Tensor:
    """The largest log probabilities of the next token, descending: logits (..., V) to (..., 20) float32."""
    return logits.float().log_softmax(-1).topk(TOP_TOKENS).values


def outcomes(logits_BV: Tensor, target_ids_B: Tensor) -> Outcomes:
    """Outcomes of logits (B, V) against the true next tokens (B,)."""
    return outcomes_with_top(logits_BV, target_ids_B)[0]


def outcomes_with_top(logits_BV: Tensor, target_ids_B: Tensor) -> tuple[Outcomes, Tensor]:
    """`outcomes` and `top_log_probs` of the same logits, which are read once."""
    on_cpu = logits_BV.device.type == "cpu"
    rows = max(1, CACHED_LOGITS // logits_BV.shape[1]) if on_cpu else len(logits_BV)
    pieces = [
        _outcomes_with_top(logits, ids)
        for logits, ids in zip(torch.split(logits_BV, rows), torch.split(target_ids_B, rows), strict=True)
    ]
    found, top = zip(*pieces, strict=True)
    return Outcomes(*map(torch.cat, zip(*found, strict=True))), torch.cat(top)


def _outcomes_with_top(logits_BV: Tensor, target_ids_B: Tensor) -> tuple[Outcomes, Tensor]:
    log_probs = logits_BV.float().log_softmax(-1)
    top = log_probs.topk(min(TOP_TOKENS, log_probs.shape[1])).values
    largest = top[:, :2].exp()
    finite = log_probs.clamp(min=torch.finfo(torch.float32).min)  # a token of probability 0 adds no entropy
    predicted = logits_BV.argmax(-1)  # of the logits: two log probabilities may round to the same number
    found = Outcomes(
        predicted_id=predicted,
        correct=predicted == target_ids_B,
        next_token_probability=log_probs.gather(-1, target_ids_B[:, None])[:, 0].exp(),
        max_probability=largest[:, 0],
        margin=largest[:, 0] - largest[:, 1],
        entropy=-(log_probs.exp() * finite).sum(-1),
    )
    return found, top
