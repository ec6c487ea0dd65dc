"""Blocks whose columns are learned from training rows, and so anew in every fold.

`apmae.prediction.features` reads such a block as numbers that mean nothing by themselves: token ids, or
hashes of files. An entry of `LEARNED` turns them into columns. Those of the training rows are learned from
other training rows only, because a row's own outcome would give itself away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from apmae.prediction.features import Block, Blocks
from apmae.prediction.metrics import Values

Columns = NDArray[np.float32]
"""(rows, columns)."""

FREQUENT = 5
"""Training rows from which a token has a column of its own."""

PRIOR_ROWS = 1
"""Rows of average outcome that are added to every file and group."""


class Learned(Protocol):
    """What was learned from training rows; a dataclass of arrays, so that it can be saved."""

    @classmethod
    def fit(cls, block: Block, correct: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[Self, Columns]:
        """Learn from training rows.

        Returns:
            What was learned, and the columns of the training rows.
        """

    def columns(self, block: Block) -> Columns:
        """The columns of new rows."""


@dataclass(frozen=True)
class TokenKind:
    """One bit: whether the predicted token is one that holes of the task start with.

    A block has two columns, the predicted token and the one that the hole starts with; the second is read
    in training rows only. What a training row's bit is learned from are the rows of other groups, since
    new prompts, too, are of other groups.

    Attributes:
        tokens: (tokens,) int64 that the holes of training rows start with.
    """

    tokens: NDArray[np.int64]

    @classmethod
    def fit(  # noqa: D102
        cls, block: Block, correct: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> tuple[Self, Columns]:
        predicted, first = block.T.astype(np.int64)
        starts, n_groups = np.unique(np.unique(np.stack([first, groups]), axis=1)[0], return_counts=True)
        known = dict(zip(starts.tolist(), n_groups.tolist(), strict=True))
        of_own = set(zip(first.tolist(), groups.tolist(), strict=True))
        elsewhere = [
            known.get(token, 0) > ((token, group) in of_own)
            for token, group in zip(predicted.tolist(), groups.tolist(), strict=True)
        ]
        return cls(starts), np.array(elsewhere, dtype=np.float32)[:, None]

    def columns(self, block: Block) -> Columns:  # noqa: D102
        return starts_a_hole(block[:, :1], self.tokens).astype(np.float32)


@dataclass(frozen=True)
class TokenIdentity:
    """Which token each column has: an indicator of every frequent one, and of all rare ones together.

    Attributes:
        source: (indicators,) int64, the block's column of each indicator.
        token: (indicators,) int64.
    """

    source: NDArray[np.int64]
    token: NDArray[np.int64]

    @classmethod
    def fit(  # noqa: D102
        cls, block: Block, correct: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> tuple[Self, Columns]:
        found = [np.unique(column, return_counts=True) for column in block.T]
        frequent = [tokens[counts >= FREQUENT] for tokens, counts in found]
        source = np.repeat(np.arange(len(frequent)), [len(tokens) for tokens in frequent])
        learned = cls(source, np.concatenate(frequent).astype(np.int64))
        return learned, learned.columns(block)

    def columns(self, block: Block) -> Columns:  # noqa: D102
        is_token = block[:, self.source] == self.token
        rare = [~is_token[:, self.source == column].any(1) for column in range(block.shape[1])]
        return np.column_stack([is_token, *rare]).astype(np.float32)


@dataclass(frozen=True)
class FileMemory:
    """How often completions of the same file and of the same group are correct in the training rows.

    A block has two columns, a number of the file and one of the group. Each becomes two: the log-odds of its
    other training rows, smoothed and less those of all of them, and whether there is any. Where the
    prompts of a file tell the opposite of each other, as in a sample that is balanced within files, nothing
    is remembered.

    Attributes:
        file, group: (files,) and (groups,) int64 numbers, ascending.
        of_file, of_group: their log-odds, float32.
    """

    file: NDArray[np.int64]
    of_file: NDArray[np.float32]
    group: NDArray[np.int64]
    of_group: NDArray[np.float32]

    @classmethod
    def fit(  # noqa: D102
        cls, block: Block, correct: NDArray[np.bool_], groups: NDArray[np.int64]
    ) -> tuple[Self, Columns]:
        file, group = (_remember(column, correct) for column in block.T)
        return cls(*file[:2], *group[:2]), np.column_stack([file[2], group[2]])

    def columns(self, block: Block) -> Columns:  # noqa: D102
        file, group = block.T
        return np.column_stack(
            [_recall(self.file, self.of_file, file), _recall(self.group, self.of_group, group)]
        )


LEARNED: Mapping[str, type[Learned]] = {
    "token_kind": TokenKind,
    "token_identity": TokenIdentity,
    "file_memory": FileMemory,
}


def starts_a_hole(predicted: NDArray[Any], first: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether predicted tokens are among those that holes of training rows start with."""
    return np.isin(predicted, first)


def learn(
    blocks: Blocks, correct: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[dict[str, Learned], Blocks]:
    """Learn those of the training rows' blocks that are to be learned; the others stay as they are.

    Returns:
        What was learned, by block, and the training rows' blocks.
    """
    found = {name: LEARNED[name].fit(blocks[name], correct, groups) for name in blocks if name in LEARNED}
    own = {name: found[name][1] if name in found else block for name, block in blocks.items()}
    return {name: learned for name, (learned, _) in found.items()}, own


def _remember(
    numbers: Block, correct: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float32], Columns]:
    """Numbers and their log-odds, and the training rows' columns, without their own outcomes."""
    known, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
    right = np.bincount(place, weights=correct).astype(np.float64)
    rate = float(correct.mean())
    others = _log_odds(right[place] - correct, count[place] - 1, rate)
    agree = others[correct].mean() > others[~correct].mean()
    of_known = _log_odds(right, count, rate) * agree
    return known.astype(np.int64), of_known, np.column_stack([others * agree, count[place] > 1])


def _recall(known: NDArray[np.int64], log_odds: NDArray[np.float32], numbers: Block) -> Columns:
    place = np.searchsorted(known, numbers).clip(max=len(known) - 1)
    seen = known[place] == numbers
    return np.column_stack([np.where(seen, log_odds[place], 0), seen]).astype(np.float32)


def _log_odds(right: Values, count: NDArray[np.int64], rate: float) -> NDArray[np.float32]:
    """Smoothed log-odds less those of the rate; 0 of no rows."""
    smoothed = (right + PRIOR_ROWS * rate) / (count + PRIOR_ROWS)
    return (logit(smoothed) - logit(rate)).astype(np.float32)  # type: ignore[no-any-return]
