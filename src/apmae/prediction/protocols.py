"""Which prompts a classifier is fitted on and which it is tested on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


class Split(NamedTuple):
    """Row numbers."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def cross_validation(correct: NDArray[np.bool_], folds: int, seed: int) -> list[Split]:
    """Stratified folds, the paper's protocol (section 6): every row is tested once.

    Fewer folds where an outcome has fewer rows than `folds`; none where it has fewer than two.
    """
    folds = min(folds, _rarer(correct))
    if folds < 2:
        return []
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return [Split(train, test) for train, test in splitter.split(correct, correct)]


def held_out(in_train: NDArray[np.bool_]) -> list[Split]:
    """One split, by group; none where a part of it is empty."""
    if in_train.all() or not in_train.any():
        return []
    return [Split(np.flatnonzero(in_train), np.flatnonzero(~in_train))]


def group_numbers(rows: pl.DataFrame) -> NDArray[np.int64]:
    """(rows,) number of each row's group, 0, 1, ... without a gap."""
    return rows["group"].rank("dense").to_numpy().astype(np.int64) - 1


def group_folds(correct: NDArray[np.bool_], groups: NDArray[np.int64], folds: int, seed: int) -> list[Split]:
    """Folds that cut through no group: as a protocol, and for choices made within training rows.

    Fewer where there are fewer groups; those whose training rows lack an outcome are left out.
    """
    folds = min(folds, len(np.unique(groups)), _rarer(correct))
    if folds < 2:
        return []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = [Split(train, test) for train, test in splitter.split(correct, correct, groups)]
    return [split for split in splits if len(split.test) and _rarer(correct[split.train])]


def _rarer(correct: NDArray[np.bool_]) -> int:
    """Number of rows of the rarer outcome."""
    return int(np.bincount(correct, minlength=2).min())
