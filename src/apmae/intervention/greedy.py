"""Greedy selection: add the head whose zero ablation helps most, until nothing helps.

The paper ablates heads in the order of their SHAP values, each judged alone. Greedy selection judges every
head together with those chosen before it, on tuning prompts of the training groups. At each step the
candidates are the heads whose scaling factor has the most negative gradient of the true token's log
probability, averaged over the tuning prompts. One backward pass gives the gradients of all heads: Michel et
al. (2019, section 4.1) rank heads to prune by them, without their sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from apmae.target_model import Completions, Head, Target

GRADIENT_BATCH = 4
"""Prompts at a time, of which the backward pass keeps every layer."""

Heads = tuple[Head, ...]


class Effect(NamedTuple):
    """What zero ablation of some heads gains; compared from left to right.

    Attributes:
        net_change: prompts that became correct minus those that became incorrect.
        log_probability: of the true next token, mean gain over the prompts; few prompts change, many tie.
    """

    net_change: int
    log_probability: float


Propose = Callable[[Heads], Sequence[Head]]
Evaluate = Callable[[Sequence[Heads]], list[Effect]]


def greedy_heads(propose: Propose, most: int, evaluate: Evaluate) -> Heads:
    """Choose heads one after the other.

    Args:
        propose: given those chosen so far, heads that may be added; of equally good ones the first is taken.
        most: at most so many are chosen.
        evaluate: scores of several sets of heads, called once a step.

    Returns:
        The heads in the order in which they were chosen; none where none helps.
    """
    chosen: Heads = ()
    best = Effect(0, 0.0)
    while len(chosen) < most:
        sets = [(*chosen, head) for head in propose(chosen)]
        if not sets:
            break
        score, heads = max(zip(evaluate(sets), sets, strict=True), key=lambda pair: pair[0])
        if score <= best:
            break
        best, chosen = score, heads
    return chosen


def gradient_batches(
    target: Target, prompts: pl.DataFrame, factors: Mapping[Head, float] | Tensor
) -> Iterator[Tensor]:
    """Gradients (B, L, H) of the true tokens' log probability by the heads' factors, a few prompts at a time.

    Args:
        prompts: `input_ids` of one length, `true_ids`.
        factors: where the gradient is taken, see `Target.factor_gradients`.
    """
    for some in prompts.iter_slices(GRADIENT_BATCH):
        yield target.factor_gradients(Completions.of_table(some), factors)


def promising_heads(target: Target, prompts: pl.DataFrame, ablated: Heads, count: int) -> list[Head]:
    """Heads whose zero ablation would make the true tokens most probable, to first order, the best first.

    Args:
        prompts: `input_ids` of one length, `true_ids`.
        ablated: heads that are ablated already.
        count: how many; fewer where fewer are left.
    """
    factors = dict.fromkeys(ablated, 0.0)
    total_LH = torch.zeros(target.n_layers, target.n_heads)
    for gradients_BLH in gradient_batches(target, prompts, factors):
        total_LH += gradients_BLH.sum(0)
    ascending = total_LH.flatten().argsort(stable=True).tolist()
    return [head for head in map(target.heads.__getitem__, ascending) if head not in ablated][:count]
