"""What a classifier of tokens may look at: named blocks, and unions of them written with "+".

`confidence`, `identity`, `hidden`, `occurrences`, and of heads `rows` and `copies`; docs/tokens.md says what
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from apmae.common.errors import ApmaeError
from apmae.encoding.copying import OCCURRENCE_COLUMNS, occurrences
from apmae.study import Study
from apmae.study.artifacts import COPY_ATTENTION, STATISTICS, TOKEN_ARRAYS, token_ids
from apmae.token_study.models import Inputs
from apmae.token_study.tokens import TokenFeatures
from apmae.vocabulary import TOKEN_BLOCKS_OF_HEADS

UNIONS = {"strong": ("confidence", "identity", "hidden", "occurrences")}
"""`strong` is all that is known of a token without attention, as in `apmae.vocabulary.UNIONS`."""

CONFIDENCE = "confidence"
ROWS = "rows"
"""Row statistics of every head."""
COPIES = "copies"
"""Attention of every head to where the predicted token may be copied from."""
OF_HEADS = {ROWS: STATISTICS, COPIES: COPY_ATTENTION}
"""Blocks with columns of every head, and their arrays."""
assert tuple(OF_HEADS) == TOKEN_BLOCKS_OF_HEADS, "the vocabulary has every block of heads, and no other"
PRIOR_COUNT = 20.0
"""Training tokens that the rate of all tokens counts as, where a token's own rate is learned."""


@dataclass(frozen=True)
class Tokens:
    """Tokens, and the arrays that belong to them.

    Attributes:
        table: rows with the columns of tokens.parquet that the blocks read; of a study all of them.
        windows: (windows, tokens) ids of the windows, which `window` and `place` of the table are places in.
        arrays: of tokens.zarr, by name.
    """

    table: pl.DataFrame
    windows: NDArray[np.int32]
    arrays: Mapping[str, NDArray[np.float16]]

    @classmethod
    def of(cls, study: Study) -> Tokens:
        """All tokens that a study kept.

        Raises:
            ApmaeError: the stage `tokens` is not done, or has no tokens of a split.
        """
        tokens = labelled_tokens(study)
        arrays = {name: np.asarray(array) for name, array in study.arrays(TOKEN_ARRAYS).arrays()}
        return cls(tokens, token_ids(study.windows), arrays)

    @classmethod
    def of_pass(
        cls, features: TokenFeatures, input_ids_BT: NDArray[np.int32], first: int, project: Tensor
    ) -> Tokens:
        """All tokens of a pass over windows, window by window, in the precision that a study keeps.

        Args:
            input_ids_BT: the windows.
            first: place of the first token.
            project: of the hidden states, see `apmae.token_study.tokens.projection`.
        """
        windows, count = features.outcomes.correct.shape
        known = {name: values.flatten().numpy() for name, values in features.outcomes._asdict().items()}
        places = np.tile(np.arange(first, first + count), windows)
        arrays = {
            **features.of_heads,
            "top_log_probs": features.top_log_probs,
            "hidden_states": features.hidden_states @ project,
        }
        halves = {name: values.flatten(0, 1).half().numpy() for name, values in arrays.items()}
        window = np.repeat(np.arange(windows), count)
        return cls(pl.DataFrame({**known, "window": window, "place": places}), input_ids_BT, halves)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Numbers of the rows of one split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())


def labelled_tokens(study: Study) -> pl.DataFrame:
    """`TOKENS` of a study that has some of both splits.

    Raises:
        ApmaeError: the stage `tokens` is not done, or has no tokens of a split.
    """
    if study.marker("tokens") is None:
        raise ApmaeError(f"{study.directory}: the stage tokens is not done: run `apmae tokens`")
    tokens = study.tokens
    if set(tokens["split"].unique()) < {"train", "test"}:
        raise ApmaeError(f"{study.directory} keeps no tokens of both splits: raise tokens.windows")
    return tokens


def blocks_of(features: str) -> tuple[str, ...]:
    """The blocks of a union."""
    return tuple(block for name in features.split("+") for block in UNIONS.get(name, (name,)))


def arrays_of_heads(features: str) -> tuple[str, ...]:
    """Arrays with columns of every head that a union reads."""
    return tuple(OF_HEADS[block] for block in blocks_of(features) if block in OF_HEADS)


def without_heads(features: str) -> str:
    """A feature set without its blocks of heads, to compare it with; `confidence` where nothing is left."""
    return "+".join(name for name in features.split("+") if name not in OF_HEADS) or CONFIDENCE


def inputs_of(tokens: Tokens, features: str, rows: NDArray[np.int64], train: NDArray[np.int64]) -> Inputs:
    """What classifiers of a feature set see of some rows.

    Args:
        train: rows that `identity` is learned from.
    """
    blocks = blocks_of(features)
    plain = [_PLAIN[block](tokens, rows, train) for block in blocks if block not in OF_HEADS]
    heads = [tokens.arrays[name][rows] for name in arrays_of_heads(features)]
    return Inputs(
        np.concatenate([np.empty((len(rows), 0), np.float32), *plain], axis=1),
        np.concatenate(heads, axis=2) if heads else None,
    )


Rows = NDArray[np.int64]
Columns = NDArray[np.float32]


def _confidence(tokens: Tokens, rows: Rows, _train: Rows) -> Columns:
    """(rows, 24): maximum, margin, entropy, log of the token's place, the 20 largest log probabilities."""
    known = [tokens.table[name].to_numpy()[rows] for name in ("max_probability", "margin", "entropy")]
    place = np.log(tokens.table["place"].to_numpy()[rows])
    return np.column_stack([*known, place, tokens.arrays["top_log_probs"][rows]]).astype(np.float32)


def _hidden(tokens: Tokens, rows: Rows, _train: Rows) -> Columns:
    """(rows, 2 * dim)."""
    return tokens.arrays["hidden_states"][rows].reshape(len(rows), -1).astype(np.float32)


def _identity(tokens: Tokens, rows: Rows, train: Rows) -> Columns:
    """(rows, 6): for the predicted token, the one before it and the pair, what training tokens tell.

    Two columns each: the log-odds that such tokens are correct, and the log of how many there are. A training
    token's own group does not count.
    """
    window, place = (tokens.table[name].to_numpy() for name in ("window", "place"))
    table = tokens.table.select("group", "correct", "weight", "predicted_id").with_columns(
        before_id=pl.Series(tokens.windows[window, place - 1])
    )
    table = table.with_columns(pl.struct("predicted_id", "before_id").rank("dense").alias("pair"))
    names = ("predicted_id", "before_id", "pair")
    return np.hstack([_rates(table[train], table[rows], name) for name in names])


def _occurrences(tokens: Tokens, rows: Rows, _train: Rows) -> Columns:
    """(rows, 8): see `apmae.encoding.copying.occurrences`."""
    window, place, predicted = (
        tokens.table[name].to_numpy()[rows] for name in ("window", "place", "predicted_id")
    )
    found = np.empty((len(rows), OCCURRENCE_COLUMNS), dtype=np.float32)
    order = np.argsort(window, kind="stable")
    for of_window in np.split(order, np.flatnonzero(np.diff(window[order])) + 1):
        ids = tokens.windows[window[of_window[0]]]
        found[of_window] = occurrences(ids, place[of_window], predicted[of_window])
    return found


def _rates(training: pl.DataFrame, rows: pl.DataFrame, name: str) -> Columns:
    counted = (
        pl.col("weight").sum().alias("count"),
        (pl.col("weight") * pl.col("correct")).sum().alias("right"),
    )
    prior = np.average(training["correct"].to_numpy(), weights=training["weight"].to_numpy())
    every = training.group_by(name).agg(*counted)
    own = training.group_by(name, "group").agg(*counted)
    joined = rows.join(every, on=name, how="left", maintain_order="left").join(
        own, on=[name, "group"], how="left", suffix="_own", maintain_order="left"
    )
    count, right = (
        (joined[part].fill_null(0) - joined[f"{part}_own"].fill_null(0)).to_numpy().astype(np.float64)
        for part in ("count", "right")
    )
    rate = (right + PRIOR_COUNT * prior) / (count + PRIOR_COUNT)
    columns = np.stack([logit(rate.clip(1e-6, 1 - 1e-6)), np.log1p(count.clip(0))], axis=1)
    return columns.astype(np.float32)


_PLAIN: Mapping[str, Callable[[Tokens, Rows, Rows], Columns]] = {
    "confidence": _confidence,
    "hidden": _hidden,
    "identity": _identity,
    "occurrences": _occurrences,
}
