"""From a classifier's log-odds to frequencies.

1. Platt scaling (Platt 1999): one slope and one offset, fitted on log-odds of rows that the
   classifier was not fitted on. Two numbers can be had from few rows, and what adds up to the
   log-odds before does so afterwards.
2. Prompts are kept half correct, half incorrect; where completions are correct at another rate, the
   log-odds are moved by the difference of the rates' log-odds (Bayes' rule).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from apmae.prediction.metrics import Values


class Calibration(NamedTuple):
    """`slope * log_odds + offset` are the log-odds that a completion is correct."""

    slope: float
    offset: float

    def __call__(self, log_odds: Values) -> Values:
        """Calibrated log-odds, of the same shape."""
        return self.slope * log_odds + self.offset


def fit_calibration(log_odds: Values, correct: NDArray[np.bool_], rate: float) -> Calibration:
    """Platt scaling of log-odds, moved to where the share `rate` of completions is correct.

    Log-odds that fall where completions are correct say nothing: the slope is then zero, and every
    completion gets the rate.

    Args:
        log_odds: (rows,), by models that have not seen the rows.
        correct: (rows,), with both outcomes.
        rate: within (0, 1).
    """
    slope, offset = _platt(log_odds, correct)
    if slope <= 0:
        return Calibration(0.0, float(logit(rate)))
    return Calibration(slope, float(offset + logit(rate) - logit(correct.mean())))


def _platt(log_odds: Values, correct: NDArray[np.bool_]) -> Calibration:
    right, wrong = int(correct.sum()), int((~correct).sum())
    # Platt's targets: with 0 and 1 themselves, outcomes that log-odds tell apart would have no finite slope.
    target = np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))
    rows = np.tile(log_odds, 2)[:, None]
    outcome = np.repeat([True, False], len(log_odds))
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000)
    model.fit(rows, outcome, sample_weight=np.concatenate([target, 1 - target]))
    return Calibration(float(model.coef_[0, 0]), float(model.intercept_[0]))
