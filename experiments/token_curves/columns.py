"""What a classifier of tokens may look at: named blocks, and unions of them written with "+"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import zarr
from numpy.typing import NDArray
from scipy.special import logit

from apmae.study import Study
from apmae.study.artifacts import TOKEN_ARRAYS
from apmae.token_study.models import Inputs

UNIONS = {"strong": ("confidence", "identity", "hidden")}
"""`strong` is all that is known of a token without attention, as in `apmae.vocabulary.UNIONS`."""

FEATURE_SETS = (
    "confidence",
    "identity",
    "hidden",
    "rows",
    "confidence+rows",
    "confidence+hidden",
    "strong",
    "strong+rows",
)
PRIOR_COUNT = 20.0
"""Training tokens that the rate of all tokens counts as, where a token's own rate is learned."""


@dataclass(frozen=True)
class Tokens:
    """The tokens that a study kept, and the arrays that belong to them.

    Attributes:
        table: rows of tokens.parquet, with `before_id`, the token left of each one.
        arrays: of tokens.zarr, by name.
    """

    table: pl.DataFrame
    arrays: dict[str, NDArray[np.float16]]

    @classmethod
    def of(cls, study: Study) -> Tokens:
        """All tokens of a study.

        Raises:
            ApmaeError: the stage `tokens` is not done, or kept none.
        """
        windows, tokens = study.windows, study.tokens
        ids = np.array(windows["input_ids"].to_list())
        before = ids[tokens["window"].to_numpy(), tokens["place"].to_numpy() - 1]
        group = zarr.open_group(study.path(TOKEN_ARRAYS), mode="r")
        arrays = {name: np.asarray(array) for name, array in group.arrays()}
        return cls(tokens.with_columns(before_id=pl.Series(before)), arrays)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Numbers of the rows of one split."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())


def blocks_of(features: str) -> tuple[str, ...]:
    """The blocks of a union."""
    return tuple(block for name in features.split("+") for block in UNIONS.get(name, (name,)))


def inputs_of(
    tokens: Tokens, features: str, train: NDArray[np.int64], test: NDArray[np.int64]
) -> tuple[Inputs, Inputs]:
    """What classifiers of a feature set see of training and test rows."""
    blocks = blocks_of(features)
    plain = [_PLAIN[block](tokens, train, test) for block in blocks if block != "rows"]
    empty = np.empty((len(train), 0), np.float32), np.empty((len(test), 0), np.float32)
    found = []
    for side, rows in enumerate((train, test)):
        heads = tokens.arrays["row_statistics"][rows] if "rows" in blocks else None
        columns = np.concatenate([block[side] for block in (empty, *plain)], axis=1)
        found.append(Inputs(columns, heads))
    return found[0], found[1]


Sides = tuple[NDArray[np.float32], NDArray[np.float32]]


def _confidence(tokens: Tokens, train: NDArray[np.int64], test: NDArray[np.int64]) -> Sides:
    """(rows, 24): maximum, margin, entropy, log of the token's place, the 20 largest log probabilities."""
    known = tokens.table.select("max_probability", "margin", "entropy", pl.col("place").log()).to_numpy()
    columns = np.hstack([known, tokens.arrays["top_log_probs"]]).astype(np.float32)
    return columns[train], columns[test]


def _hidden(tokens: Tokens, train: NDArray[np.int64], test: NDArray[np.int64]) -> Sides:
    """(rows, 2 * dim)."""
    columns = tokens.arrays["hidden_states"]
    return tuple(columns[rows].reshape(len(rows), -1).astype(np.float32) for rows in (train, test))  # type: ignore[return-value]


def _identity(tokens: Tokens, train: NDArray[np.int64], test: NDArray[np.int64]) -> Sides:
    """(rows, 6): for the predicted token, the one before it and the pair, what training tokens tell.

    Two columns each: the log-odds that such tokens are correct, and the log of how many there are. A training
    token's own group does not count.
    """
    table = tokens.table.select("group", "correct", "weight", "predicted_id", "before_id")
    pair = pl.struct("predicted_id", "before_id").rank("dense")
    table = table.with_columns(pair.alias("pair"))
    sides = [_rates(table[train], table[rows], name) for rows in (train, test) for name in _IDENTITIES]
    half = len(_IDENTITIES)
    return np.hstack(sides[:half]), np.hstack(sides[half:])


_IDENTITIES = ("predicted_id", "before_id", "pair")


def _rates(training: pl.DataFrame, rows: pl.DataFrame, name: str) -> NDArray[np.float32]:
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


_PLAIN = {"confidence": _confidence, "hidden": _hidden, "identity": _identity}
