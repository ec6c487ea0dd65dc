"""L2 logistic regression on blocks of columns, and what every column contributes.

0. What is learned from training rows (`apmae.prediction.learned`) is learned first.
1. Categories become indicator columns; every column is standardised on the training rows, but for
   blocks of one unit, whose columns keep their relative spread. A block is scaled to a total
   variance of one, so that the penalty treats a block of three columns and one of thousands alike.
   New rows are clamped to the range of the training rows: a column that hardly varied there would
   else decide alone where it does.
2. A wide block is rotated onto the principal components of its training rows.
3. The penalty is chosen by cross-validation by group within the training rows.
4. The weights are rotated back: the log-odds are linear in the columns, and the SHAP value of a
   column is its weight times its distance from the training mean (Lundberg and Lee 2017, 2.4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from sklearn import config_context
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from apmae.prediction.features import Block, Blocks
from apmae.prediction.learned import LEARNED, Learned, learn
from apmae.prediction.metrics import Values
from apmae.prediction.protocols import group_folds
from apmae.vocabulary import BLOCKS

COMPONENTS = 512
"""Principal components that a wide block is reduced to."""

INVERSE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Candidates of the logistic regression's C, for blocks of total variance one."""

INNER_FOLDS = 5

SOLVER: dict[str, Any] = {"solver": "newton-cg", "tol": 1e-6, "max_iter": 1_000}
"""As fast as scikit-learn's defaults on some hundred rows, with log-odds off by 1e-5 instead of 1e-2."""

SAVED = "learned."


@dataclass(frozen=True)
class Columns:
    """How a block becomes standardised columns.

    Attributes:
        source: (columns,) int64, the block's column that each one stems from, ascending.
        mean, scale, low, high: (columns,) of the training rows; the scale of a constant one is infinite.
        category: (columns,) int16, the category that each one indicates; None for numbers.
    """

    source: NDArray[np.int64]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    category: NDArray[np.int16] | None = None

    @classmethod
    def fit(cls, block: Block, one_unit: bool = False) -> Self:
        """Learn from a block's training rows.

        Args:
            one_unit: whether columns keep their relative spread, see `apmae.vocabulary.Block`.
        """
        if np.issubdtype(block.dtype, np.integer):
            source, category = _categories(block)
        else:
            source, category = np.arange(block.shape[1]), None
        expanded = _expand(block, source, category)
        mean, spread = expanded.mean(0), expanded.std(0)
        varies = spread > 1e-6 * np.abs(mean)
        total = np.sum(spread**2) ** 0.5 if one_unit else spread * max(varies.sum(), 1) ** 0.5
        scale = np.where(varies, total, np.inf).astype(np.float32)
        return cls(source, mean, scale, expanded.min(0), expanded.max(0), category)

    def standardise(self, block: Block) -> NDArray[np.float32]:
        """(prompts, columns) of mean 0, their variances adding up to 1; a constant one is 0."""
        expanded = _expand(block, self.source, self.category)
        expanded.clip(self.low, self.high, out=expanded)
        expanded -= self.mean
        expanded /= self.scale
        return expanded


@dataclass(frozen=True)
class Rotation:
    """A wide block's top principal components, from the Gram matrix, which is small for few rows.

    The axes themselves, (columns, components), are never made: scores and weights need only what
    combines rows into them.

    Attributes:
        values: (rows, columns) of mean 0.
        scores: (rows, components); of a narrow block, its values.
        combine: (rows, components), axes being `values.T @ combine`; None for a narrow block.
    """

    values: NDArray[np.float32]
    scores: NDArray[np.float32]
    combine: NDArray[np.float32] | None

    @classmethod
    def fit(cls, values: NDArray[np.float32]) -> Self:
        """Rotate the training rows of a block."""
        if values.shape[1] <= COMPONENTS:
            return cls(values, values, None)
        variances, vectors = np.linalg.eigh((values @ values.T).astype(np.float64))
        top = np.argsort(-variances)[:COMPONENTS]
        kept = top[variances[top] > 1e-6 * variances.max()]
        axes, lengths = vectors[:, kept], variances[kept] ** 0.5
        return cls(values, (axes * lengths).astype(np.float32), (axes / lengths).astype(np.float32))

    def back(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weights of the components, (components,) -> of the columns, (columns,)."""
        return weights if self.combine is None else self.values.T @ (self.combine @ weights)


@dataclass(frozen=True)
class LinearModel:
    """Log-odds that the completion is correct: a sum over standardised columns.

    Attributes:
        columns: by block, how its columns are made.
        weights: by block, (columns,).
        bias: the mean log-odds of the training rows.
        learned: by block, what was learned; without the blocks that are read as they are.
    """

    columns: dict[str, Columns]
    weights: dict[str, NDArray[np.float32]]
    bias: float
    learned: dict[str, Learned] = field(default_factory=dict)

    @classmethod
    def fit(cls, blocks: Blocks, correct: NDArray[np.bool_], groups: NDArray[np.int64], seed: int) -> Self:
        """Fit on training rows of both outcomes; `groups` are never cut when the penalty is chosen."""
        learned, blocks = learn(blocks, correct, groups)
        columns = {name: Columns.fit(block, _is_of_one_unit(name)) for name, block in blocks.items()}
        rotations = {name: Rotation.fit(columns[name].standardise(block)) for name, block in blocks.items()}
        scores = np.hstack([rotation.scores for rotation in rotations.values()]).astype(np.float64)
        model = _fit_logistic(scores, correct, groups, seed)
        ends = np.cumsum([rotation.scores.shape[1] for rotation in rotations.values()])
        parts = np.split(model.coef_[0].astype(np.float32), ends[:-1])
        weights = {name: rotations[name].back(part) for name, part in zip(rotations, parts, strict=True)}
        return cls(columns, weights, float(model.intercept_[0]), learned)

    def log_odds(self, blocks: Blocks) -> Values:
        """(prompts,)."""
        read = {name: learned.columns(blocks[name]) for name, learned in self.learned.items()}
        blocks = {**blocks, **read}
        terms = [self.columns[name].standardise(blocks[name]) @ self.weights[name] for name in self.columns]
        return np.sum(terms, axis=0) + self.bias  # type: ignore[no-any-return]

    def shap_values(self, name: str, block: Block) -> Values:
        """(prompts, columns of the block); those of all blocks and `bias` add up to the log-odds.

        Args:
            name: of a block that is not learned.
            block: its columns.
        """
        terms = self.columns[name].standardise(block) * self.weights[name]
        starts = np.searchsorted(self.columns[name].source, np.arange(block.shape[1]))
        return np.add.reduceat(terms, starts, axis=1, dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        It has `bias`, and of every block `<block>.weights`, its `Columns`, and `<block>.learned.<field>`
        where it is learned.
        """
        arrays = {"bias": np.array(self.bias)}
        for name, columns in self.columns.items():
            parts = {"weights": self.weights[name], **vars(columns), **_saved(self.learned.get(name))}
            arrays |= {f"{name}.{part}": values for part, values in parts.items() if values is not None}
        save_file(arrays, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        arrays = load_file(path)
        bias = arrays.pop("bias").item()
        blocks: dict[str, dict[str, Any]] = {}
        for key, values in arrays.items():
            name, _, part = key.partition(".")
            blocks.setdefault(name, {})[part] = values
        weights = {name: parts.pop("weights") for name, parts in blocks.items()}
        learned = {name: LEARNED[name](**_loaded(parts)) for name, parts in blocks.items() if name in LEARNED}
        return cls({name: Columns(**parts) for name, parts in blocks.items()}, weights, bias, learned)


def _is_of_one_unit(name: str) -> bool:
    return name in BLOCKS and BLOCKS[name].one_unit


def _saved(learned: Learned | None) -> dict[str, NDArray[Any]]:
    return {} if learned is None else {SAVED + part: values for part, values in vars(learned).items()}


def _loaded(parts: dict[str, Any]) -> dict[str, Any]:
    """What `_saved` made, taken out of `parts`."""
    return {part.removeprefix(SAVED): parts.pop(part) for part in list(parts) if part.startswith(SAVED)}


def _expand(
    block: Block, source: NDArray[np.int64], category: NDArray[np.int16] | None
) -> NDArray[np.float32]:
    """(prompts, columns): numbers as they are, categories as indicators."""
    if category is None:
        return np.array(block, dtype=np.float32)
    return np.equal(block[:, source], category).astype(np.float32)


def _categories(block: Block) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """(column, category) of every indicator, by column; a category not seen in training has none."""
    seen = [np.unique(values) for values in block.T]
    column = np.repeat(np.arange(len(seen)), [len(categories) for categories in seen])
    return column, np.concatenate(seen).astype(np.int16)


def _fit_logistic(
    columns: Values, correct: NDArray[np.bool_], groups: NDArray[np.int64], seed: int
) -> LogisticRegression:
    """With the C of least log-loss on groups left out; 1 where no group can be left out."""
    folds = group_folds(correct, groups, INNER_FOLDS, seed)
    # Checks of the input take a fifth of the time, and there are some thousand fits.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        if not folds:
            return LogisticRegression(**SOLVER).fit(columns, correct)
        return LogisticRegressionCV(
            Cs=INVERSE_PENALTIES,
            l1_ratios=(0,),
            cv=folds,
            scoring=_log_likelihood,
            use_legacy_attributes=False,
            **SOLVER,
        ).fit(columns, correct)


def _log_likelihood(model: LogisticRegression, columns: Values, correct: NDArray[np.bool_]) -> float:
    sign = np.where(correct, 1, -1)
    return -float(np.logaddexp(0, -sign * model.decision_function(columns)).sum())
