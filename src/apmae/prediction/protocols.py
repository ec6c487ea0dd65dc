"""Which prompts a classifier is fitted on and which it is tested on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold


class Split(NamedTuple):
    """Row numbers."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def cross_validation(correct: NDArray[np.bool_], folds: int, seed: int) -> list[Split]:
    """Stratified folds, the paper's protocol (section 6): every row is tested once.

    Fewer folds where an outcome has fewer rows than `folds`; none where it has fewer than two.
    """
    folds = min(folds, np.bincount(correct, minlength=2).min())
    if folds < 2:
        return []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [Split(train, test) for train, test in splitter.split(correct, correct)]


def held_out(in_train: NDArray[np.bool_]) -> list[Split]:
    """One split, by group; none where a part of it is empty."""
    if in_train.all() or not in_train.any():
        return []
    return [Split(np.flatnonzero(in_train), np.flatnonzero(~in_train))]
