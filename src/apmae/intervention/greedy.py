"""Greedy selection: add the head whose zeroing helps most, until nothing helps.

The paper zeroes heads in the order of their SHAP values, each judged by itself; here every head is
judged together with those before it, by what zeroing them does to prompts of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from apmae.target import Head

Heads = tuple[Head, ...]


class Score(NamedTuple):
    """How good it is to zero some heads; compared from left to right.

    Attributes:
        net_change: prompts that became right minus those that became wrong.
        log_probability: of the true next token, mean over the prompts; few prompts change, many tie.
    """

    net_change: int
    log_probability: float


Evaluate = Callable[[Sequence[Heads]], list[Score]]


def greedy_heads(candidates: Sequence[Head], most: int, evaluate: Evaluate) -> Heads:
    """Choose heads one after the other.

    Args:
        candidates: heads to choose from; of equally good ones the first is taken.
        most: at most so many are chosen.
        evaluate: scores of several sets of heads, called once a step; the first time with the empty
            set before the candidates.

    Returns:
        The heads in the order in which they were chosen; none where none helps.
    """
    chosen: Heads = ()
    best: Score | None = None
    while len(chosen) < most:
        sets = [(*chosen, head) for head in candidates if head not in chosen]
        if not sets:
            break
        if best is None:
            best, *scores = evaluate([(), *sets])
        else:
            scores = evaluate(sets)
        score, heads = max(zip(scores, sets, strict=True), key=lambda pair: pair[0])
        if score <= best:
            break
        best, chosen = score, heads
    return chosen
