"""How good predicted probabilities are.

`accuracy`, `balanced_accuracy`; `auroc`; `auprc`, average precision of finding the correct ones;
`brier`, mean squared error, and `brier_skill`, the part of a constant's error that is gone;
`ece`, expected calibration error (Guo et al. 2017); `aurc`, the area under the risk-coverage curve:
the fraction of incorrect completions among those at least as trusted, averaged over the prompts
(Geifman and El-Yaniv 2017), and `risk_at`, a point of it; `prr`, the prediction-rejection ratio
(Malinin et al. 2020), as LM-Polygraph computes it (Fadeeva et al. 2023). A tie counts half in `auroc` and
stands for every order in `prr`; elsewhere tied prompts go together.

Shapes: n prompts; `weights` may have leading axes, (..., n), and the metric then has these axes;
k distinct probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, expit, logit

Values = NDArray[np.float64]

CALIBRATION_BINS = 10
TINY = 1e-300
"""Stands for a weight of zero where it divides another one."""


class Scored(NamedTuple):
    """Prompts with their outcomes, and what was predicted; all (n,).

    Attributes:
        correct: whether the completion is correct.
        probability: predicted for that.
        fold: number of the model that predicted it; `auroc` compares within a fold only, since
            models differ in their level.
    """

    correct: NDArray[np.bool_]
    probability: Values
    fold: NDArray[np.int64]


Metric = Callable[[Scored, Values], Values]
"""(prompts, weights (..., n)) -> (...); NaN where it is not defined."""


def accuracy(scored: Scored, weights: Values) -> Values:
    """Fraction whose outcome is the one with probability above a half."""
    return _mean(_hits(scored), weights)


def balanced_accuracy(scored: Scored, weights: Values) -> Values:
    """Mean of the accuracies on correct and on incorrect prompts."""
    hits = _hits(scored)
    right, wrong = (_mean(hits, weights * side) for side in (scored.correct, ~scored.correct))
    return (right + wrong) / 2


def auroc(scored: Scored, weights: Values) -> Values:
    """Chance that a correct prompt has a higher probability than an incorrect one of its fold."""
    wins, pairs = np.zeros(weights.shape[:-1]), np.zeros(weights.shape[:-1])
    for fold in np.unique(scored.fold):
        rows = scored.fold == fold
        right, wrong = _by_probability(
            Scored(*(column[rows] for column in scored)), weights if rows.all() else weights[..., rows]
        )
        wins += np.einsum("...k,...k->...", right, wrong.cumsum(-1) - wrong / 2)
        pairs += right.sum(-1) * wrong.sum(-1)
    return _ratio(wins, pairs)


def within_group_auroc(scored: Scored, groups: NDArray[np.int64], weights: Values) -> Values:
    """`auroc` over pairs of one group; what tells groups apart is worth nothing here.

    Args:
        groups: (n,) number of each prompt's group.
        weights: (..., n), the same for all prompts of a group.
    """
    wins, pairs = np.zeros(len(groups)), np.zeros(len(groups))
    for fold, group in set(zip(scored.fold.tolist(), groups.tolist(), strict=True)):
        rows = (scored.fold == fold) & (groups == group)
        right, wrong = np.flatnonzero(rows & scored.correct), np.flatnonzero(rows & ~scored.correct)
        ahead = np.sign(scored.probability[right, None] - scored.probability[wrong])
        wins[right] = (1 + ahead).sum(1) / 2
        pairs[right] = len(wrong)
    return _ratio(weights @ wins, weights @ pairs)


def auprc(scored: Scored, weights: Values) -> Values:
    """Precision where each correct prompt is reached from above, averaged over the correct ones."""
    right, _, trusted_right, trusted_wrong = _from_above(scored, weights)
    precision = _ratio(trusted_right, trusted_right + trusted_wrong)
    return _ratio(np.nansum(right * precision, -1), right.sum(-1))


def brier(scored: Scored, weights: Values) -> Values:
    """Mean squared difference of probability and outcome."""
    return _mean((scored.probability - scored.correct) ** 2, weights)


def brier_skill(scored: Scored, weights: Values) -> Values:
    """1 for a perfect prediction, 0 for one no better than the frequency of correct prompts."""
    rate = _mean(scored.correct, weights)
    return 1 - _ratio(brier(scored, weights), rate * (1 - rate))


def ece(scored: Scored, weights: Values) -> Values:
    """Difference of mean probability and frequency in ten bins of equal width, weighted by their size."""
    bins = np.digitize(scored.probability, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    members = np.eye(CALIBRATION_BINS)[bins]
    gaps = (weights * (scored.probability - scored.correct)) @ members
    return _ratio(np.abs(gaps).sum(-1), weights.sum(-1))


def aurc(scored: Scored, weights: Values) -> Values:
    """Risk of trusting every prompt at least as probable as this one, averaged over the prompts."""
    right, wrong, trusted_right, trusted_wrong = _from_above(scored, weights)
    risk = _ratio(trusted_wrong, trusted_right + trusted_wrong)
    return _ratio(np.nansum((right + wrong) * risk, -1), weights.sum(-1))


def prr(scored: Scored, weights: Values) -> Values:
    """Prediction-rejection ratio: 1 where all correct prompts are trusted before all others, 0 for chance.

    The area under the curve of the fraction correct among the k most trusted prompts, averaged over k, and
    less that of a random order, as a part of what the perfect order gains. Tied prompts have the mean of all
    their orders. A weight is a number of copies.
    """
    right, wrong, trusted_right, trusted_wrong = _from_above(scored, weights)
    tied, trusted = right + wrong, trusted_right + trusted_wrong
    before, right_before = trusted - tied, trusted_right - right
    # Among ties a part r is correct. With C correct of N before them, the j-th makes (C + r j) / (N + j)
    # = r + (C - r N) / (N + j); all r together are the area of a random order.
    surplus = right_before - right / np.maximum(tied, TINY) * before
    steps = np.diff(digamma(trusted + 1), axis=-1, prepend=digamma(1))
    gained = np.einsum("...k,...k->...", surplus, steps)
    all_right, every = trusted_right[..., -1], trusted[..., -1]
    return _ratio(gained, all_right * (digamma(every + 1) - digamma(all_right + 1)))


def risk_at(scored: Scored, weights: Values, coverage: float) -> Values:
    """Fraction incorrect among the most trusted, which are the fraction `coverage` of all.

    Of tied prompts at the border as many count as are needed, with the risk that all of them have.
    """
    right, wrong, trusted_right, trusted_wrong = _from_above(scored, weights)
    tied = right + wrong
    before = trusted_right + trusted_wrong - tied
    wanted = coverage * weights.sum(-1, keepdims=True)
    taken = np.clip((wanted - before) / np.maximum(tied, TINY), 0, 1)
    return _ratio(np.einsum("...k,...k->...", wrong, taken), wanted[..., 0])


METRIC_FUNCTIONS: dict[str, Metric] = {
    "accuracy": accuracy,
    "auroc": auroc,
    "balanced_accuracy": balanced_accuracy,
    "auprc": auprc,
    "brier": brier,
    "brier_skill": brier_skill,
    "ece": ece,
    "aurc": aurc,
    "prr": prr,
}
RATE_DEPENDENT = ("accuracy", "auprc", "brier", "brier_skill", "ece", "aurc", "prr")
"""Metrics that depend on how frequent correct prompts are."""


def weights_at_rate(correct: NDArray[np.bool_], weights: Values, rate: float) -> Values:
    """Weights (..., n) of the same sum, changed so that the correct prompts have the share `rate` of it."""
    right, wrong = ((weights * side).sum(-1, keepdims=True) for side in (correct, ~correct))
    of_outcome = np.where(correct, _ratio(rate, right), _ratio(1 - rate, wrong))
    return np.asarray(weights * of_outcome * (right + wrong))


def probability_at_rate(probability: Values, fitted_rate: float, rate: float) -> Values:
    """Probabilities of a model fitted where `fitted_rate` are correct, moved to where `rate` are.

    Bayes' rule: the log-odds change by the difference of the rates' log-odds.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return expit(logit(probability) + logit(rate) - logit(fitted_rate))  # type: ignore[no-any-return]


def _hits(scored: Scored) -> NDArray[np.bool_]:
    return np.equal(scored.probability > 0.5, scored.correct)


def _by_probability(scored: Scored, weights: Values) -> tuple[Values, Values]:
    """Weights of correct and of incorrect prompts at each distinct probability, ascending: (..., k)."""
    order = np.argsort(scored.probability, kind="stable")
    ranked = scored.probability[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ordered = np.take(weights, order, axis=-1)
    right = ordered * scored.correct[order]
    sides = right, ordered - right
    if len(starts) == len(order):
        return sides
    right, wrong = (np.add.reduceat(side, starts, axis=-1) for side in sides)
    return right, wrong


def _from_above(scored: Scored, weights: Values) -> tuple[Values, Values, Values, Values]:
    """`_by_probability`, descending, and its cumulative sums."""
    if not len(scored.correct):
        empty = np.zeros((*weights.shape[:-1], 1))
        return empty, empty, empty, empty
    right, wrong = (side[..., ::-1] for side in _by_probability(scored, weights))
    return right, wrong, right.cumsum(-1), wrong.cumsum(-1)


def _mean(values: NDArray[np.float64] | NDArray[np.bool_], weights: Values) -> Values:
    return _ratio(weights @ values.astype(np.float64), weights.sum(-1))


def _ratio(numerator: Values | float, denominator: Values) -> Values:
    return np.asarray(numerator / np.where(denominator == 0, np.nan, denominator))
