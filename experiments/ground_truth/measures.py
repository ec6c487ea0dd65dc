"""How well a ranking finds the known heads, and how much of a model the heads that it puts first keep.

1. Known heads: AUROC and precision at k, k being their number; ties count as all orders of them do.
2. Faithfulness (Mueller et al. 2025, MIB, arXiv 2504.13151): all heads but the first ones are mean-ablated.
   Of the log probability that the whole model has beyond the one with every head ablated, what fraction is
   there? CPR is the area under this curve over the fraction of heads kept, CMD the area between it and 1: the
   more of the first and the less of the second, the better.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from apmae.intervention import Intervention, Mean
from apmae.intervention.run_conditions import run_conditions
from apmae.target_model import Target

Scores = NDArray[np.float64]
Order = NDArray[np.int64]
"""Numbers of heads, the first ones first."""

FRACTIONS = np.arange(1, 11) / 10
"""Of the heads that are kept."""


def auroc(scores: Scores, known: NDArray[np.bool_]) -> float:
    """Chance that a known head is ranked above another one."""
    return float(_area(rankdata(scores)[known].sum(), int(known.sum()), len(known)))


def _area(rank_sum: Scores, positives: int, heads: int) -> Scores:
    """AUROC from the sum of the ranks of the known heads (Mann and Whitney 1947)."""
    area: Scores = (rank_sum - positives * (positives + 1) / 2) / (positives * (heads - positives))
    return area


def precision(scores: Scores, known: NDArray[np.bool_]) -> float:
    """Fraction of known heads among the first ones, as many as there are known ones."""
    count = int(known.sum())
    last = np.sort(scores)[-count]
    above, tied = scores > last, scores == last
    places = count - above.sum()
    return float((known[above].sum() + places * known[tied].mean()) / count)


def chance(
    areas: Iterable[float], known: Iterable[NDArray[np.bool_]], seed: int, draws: int = 10_000
) -> float:
    """How often rankings drawn at random have a mean AUROC over models as large as this one's."""
    generator = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for of_model in known:
        positives, heads = int(of_model.sum()), len(of_model)
        ranks = generator.permuted(np.tile(np.arange(1, heads + 1), (draws, 1)), axis=1)[:, :positives]
        drawn += _area(ranks.sum(1), positives, heads)
    found = sum(areas)
    return float((1 + (drawn >= found - 1e-9).sum()) / (1 + draws))


class Faithfulness(NamedTuple):
    """Areas over the fraction of heads kept, and the curve at `FRACTIONS`."""

    cpr: float
    cmd: float
    curve: Scores


def faithfulness(
    target: Target, order: Order, prompts: pl.DataFrame, means: Tensor, batch_size: int
) -> Faithfulness:
    """Keep the first heads of a ranking and mean-ablate the others.

    Args:
        order: of all heads.
        prompts: `input_ids` of one length, `true_ids`; completed correctly by the whole model.
        means: (L, H, D) mean head outputs.
    """
    heads = [target.heads[number] for number in order]
    kept = [0, *np.ceil(FRACTIONS * len(heads)).astype(int)]
    ablations = [Intervention(tuple(heads[count:]), Mean()) for count in kept[:-1]]
    found = run_conditions(target, ablations, prompts, means, batch_size)
    none, *some = found.log_probability.double().mean(1).tolist()
    whole = float(found.plain_log_probability.double().mean())
    curve = (np.array([*some, whole]) - none) / (whole - none)
    places, values = np.array([0, *FRACTIONS]), np.array([0, *curve])
    return Faithfulness(
        float(np.trapezoid(values, places)), float(np.trapezoid(np.abs(1 - values), places)), curve
    )
