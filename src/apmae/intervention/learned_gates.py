"""Learned gates: a factor in [0, 1] for every head, all learned together by gradient descent.

Causal head gating (Nam et al. 2025, arXiv 2505.13737) learns such gates twice, once with a penalty on closed
gates and once with one on open gates. A head that closes although this costs *interferes*. A head that stays
open although this costs *facilitates*. The others are *irrelevant* to the task. Here the loss is the negative
log probability of the true tokens, and how far the outputs on other code move (KL divergence).

The gates start open and are clipped to [0, 1] after each step of Adam, so that a gate which nothing moves is
exactly 1. A penalty is the gain in nats for which a gate is worth closing, or has to stay open.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from apmae.study.artifacts import token_ids
from apmae.target_model import Completions, Target

BATCH_PROMPTS = 8
BATCH_CODE = 4
CODE_POSITIONS = 4
"""Positions of other code at which outputs are compared."""
LEARNING_RATE = 0.05
HALF_OPEN = 0.5

Penalised = Literal["closed", "open"]
Verdict = Literal["facilitating", "interfering", "irrelevant"]


class LearnedGates(NamedTuple):
    """Gates (L, H) float32 in [0, 1], and the step at which the search diverged; None if it did not."""

    gates: Tensor
    diverged_at: int | None


def learn_gates(
    target: Target,
    prompts: pl.DataFrame,
    weights: np.ndarray,
    code: pl.DataFrame,
    steps: int,
    penalty: float,
    generator: np.random.Generator,
    *,
    penalised: Penalised = "closed",
) -> LearnedGates:
    """Learn a gate for every head.

    Args:
        prompts: `input_ids` of one length, `true_ids`.
        weights: (prompts,) how much each prompt counts; it is drawn as often.
        code: `input_ids` of other code of one length, on which the outputs are to stay; may have no rows.
        steps: of Adam.
        penalty: nats per gate.
        generator: draws the batches.
        penalised: which gates cost.

    Returns:
        The gates of the last step at which they and the loss were finite.
    """
    gates = torch.ones(target.n_layers, target.n_heads, requires_grad=True)
    optimizer = torch.optim.Adam([gates], LEARNING_RATE)
    good = gates.detach().clone()
    for step in range(steps):
        batch = prompts[generator.choice(prompts.height, BATCH_PROMPTS, p=weights / weights.sum()).tolist()]
        loss = -_log_probability(target, gates, batch)
        if code.height:
            some = code[generator.choice(code.height, min(BATCH_CODE, code.height), replace=False).tolist()]
            loss = loss + _divergence(target, gates, token_ids(some))
        cost = gates if penalised == "open" else 1 - gates
        # Not `backward`, which would leave gradients in the target's weights.
        (gates.grad,) = torch.autograd.grad(loss + penalty * cost.sum(), gates)
        optimizer.step()
        with torch.no_grad():
            gates.clamp_(0, 1)
        if not (loss.isfinite() and gates.isfinite().all()):
            return LearnedGates(good, step)
        good = gates.detach().clone()
    return LearnedGates(good, None)


def verdict_of(retained: float, removed: float) -> Verdict:
    """What two gates say of a head.

    Args:
        retained: the gate that was learned where closed gates cost.
        removed: the one where open gates cost.
    """
    if retained < HALF_OPEN:
        return "interfering"
    return "facilitating" if removed >= HALF_OPEN else "irrelevant"


def _log_probability(target: Target, gates: Tensor, prompts: pl.DataFrame) -> Tensor:
    """Of the true tokens, mean over prompts, nats."""
    completions = Completions.of_table(prompts)
    logits = target.logits_under(gates, completions.input_ids, completions.positions)
    return completions.log_probability(logits).mean()


def _divergence(target: Target, gates: Tensor, input_ids: np.ndarray) -> Tensor:
    """KL divergence of the gated outputs from the plain ones, mean over some positions, nats."""
    length = input_ids.shape[1]
    positions = np.unique(np.linspace(length // 2, length - 1, CODE_POSITIONS).astype(int)).tolist()
    with torch.no_grad():
        plain = target.logits_under(torch.ones_like(gates), input_ids, positions).log_softmax(-1)
    gated = target.logits_under(gates, input_ids, positions).log_softmax(-1)
    return (plain.exp() * (plain - gated)).sum(-1).mean()
