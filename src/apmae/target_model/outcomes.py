"""The target's predictions: whether they are correct, and how confident."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

TOP_TOKENS = 20
"""Next tokens whose log probabilities are kept."""


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
    """Outcomes of the last position's logits (B, V) against the true next tokens (B,)."""
    log_probs = logits_BV.float().log_softmax(-1)
    probabilities = log_probs.exp()
    largest = probabilities.topk(2, dim=-1).values
    predicted = logits_BV.argmax(-1)
    return Outcomes(
        predicted_id=predicted,
        correct=predicted == target_ids_B,
        next_token_probability=probabilities.gather(-1, target_ids_B[:, None])[:, 0],
        max_probability=largest[:, 0],
        margin=largest[:, 0] - largest[:, 1],
        entropy=-torch.special.xlogy(probabilities, probabilities).sum(-1),
    )
