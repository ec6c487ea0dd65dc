"""Which tokens of a window are kept: a draw by stratum, with the weights that undo it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Drawn(NamedTuple):
    """Tokens that are kept, both (kept,).

    Attributes:
        places: int64 indices of the tokens, ascending.
        weights: float64, how many tokens of its stratum each one stands for.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float64]


def draw_by_stratum(strata: NDArray[np.int64], count: int, generator: np.random.Generator) -> Drawn:
    """Draw tokens so that rare strata are well represented.

    The number of a stratum's draws is in proportion to the square root of its size, at least one and at most
    its size. Weights of a stratum's draws add up to its size, so weighted counts are those of all tokens.

    Args:
        strata: (tokens,) number of each token's stratum.
        count: tokens to keep; at least as many as there are strata, unless there are fewer tokens.
    """
    names, sizes = np.unique(strata, return_counts=True)
    draws = _allocate(sizes, min(count, len(strata)))
    places, weights = [], []
    for name, size, number in zip(names, sizes, draws, strict=True):
        members = np.flatnonzero(strata == name)
        places.append(generator.choice(members, number, replace=False))
        weights.append(np.full(number, size / number))
    order = np.argsort(np.concatenate(places))
    return Drawn(np.concatenate(places)[order], np.concatenate(weights)[order])


def _allocate(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """(strata,) numbers that add up to `count`: one each, then one by one to the stratum that lags most."""
    assert len(sizes) <= count <= sizes.sum()
    given = np.ones(len(sizes), dtype=np.int64)
    for _ in range(count - len(sizes)):
        lag = np.where(given < sizes, np.sqrt(sizes) / (given + 1), -np.inf)
        given[int(lag.argmax())] += 1
    return given
