"""Classifiers of correctness, and which of them each feature set uses.

Each one is a function (blocks, correct, config, seed) -> predict; everything it learns, scaling
and reduction included, comes from the training rows it is given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from catboost import CatBoostClassifier, Pool
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from apmae.config import PredictionConfig
from apmae.prediction.features import Block, Blocks

Predict = Callable[[Blocks], NDArray[np.float64]]
"""Blocks of new prompts -> (prompts,) probability that the completion is right."""

Fit = Callable[[Blocks, NDArray[np.bool_], PredictionConfig, int], Predict]

ONE_HOT_MAX_SIZE = 255
"""CatBoost's limit: heads with more clusters than this are target-encoded."""

COMPONENTS = 128
"""Principal components that a wide block is reduced to."""

INVERSE_PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Candidates of the logistic regression's C, for blocks of total variance one."""


def fit_prior(blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int) -> Predict:
    """The frequency of right completions."""
    rate = correct.mean()
    return lambda blocks: np.full(len(next(iter(blocks.values()))), rate)


def fit_trees(blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int) -> Predict:
    """Gradient-boosted trees, the paper's choice (section 6)."""
    model = fit_catboost(blocks, correct, config, seed)
    return lambda blocks: model.predict_proba(as_pool(blocks))[:, 1]


def fit_linear(blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int) -> Predict:
    """L2 logistic regression, its penalty chosen by cross-validation within the training rows.

    Every block is standardised, reduced if wide, and scaled to a total variance of one, so that
    the penalty treats a block of three columns and one of thousands alike.
    """
    encoders = {name: _block_encoder(block, seed).fit(block) for name, block in blocks.items()}

    def encode(blocks: Blocks) -> NDArray[np.float32]:
        columns = [
            encoder.transform(blocks[name]) / blocks[name].shape[1] ** 0.5
            for name, encoder in encoders.items()
        ]
        return np.hstack(columns)

    model = _logistic_regression(correct, seed).fit(encode(blocks), correct)
    return lambda blocks: model.predict_proba(encode(blocks))[:, 1]


FEATURE_SETS: dict[str, Fit] = {
    "prior": fit_prior,
    "confidence": fit_linear,
    "clusters": fit_trees,
    "row_statistics": fit_linear,
    "confidence+clusters": fit_trees,
    "confidence+row_statistics": fit_linear,
}
"""Blocks, joined by "+", and the classifier that is fitted on them."""


def fit_features(
    features: str, blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int
) -> Predict:
    """Fit a feature set; where there is nothing to learn from, the prior is all there is."""
    fit = FEATURE_SETS[features] if learnable(blocks, correct) else fit_prior
    return fit(blocks, correct, config, seed)


def learnable(blocks: Blocks, correct: NDArray[np.bool_]) -> bool:
    """Whether both outcomes occur and some column varies."""
    varies = any((block != block[:1]).any() for block in blocks.values())
    return bool(varies and correct.any() and not correct.all())


def fit_catboost(
    blocks: Blocks, correct: NDArray[np.bool_], config: PredictionConfig, seed: int
) -> CatBoostClassifier:
    """A CatBoost model of `learnable` blocks; the same whatever the machine's cores."""
    model = CatBoostClassifier(
        iterations=config.iterations,
        depth=config.depth,
        learning_rate=config.learning_rate,
        one_hot_max_size=ONE_HOT_MAX_SIZE,
        random_seed=seed,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )
    return model.fit(as_pool(blocks, correct))


def as_pool(blocks: Blocks, correct: NDArray[np.bool_] | None = None) -> Pool:
    """CatBoost's data set: columns are called `<block>_<number>`, integers are categories."""
    columns = {
        f"{name}_{number}": column
        for name, block in blocks.items()
        for number, column in enumerate(np.ascontiguousarray(block.T))
    }
    categories = [name for name, column in columns.items() if np.issubdtype(column.dtype, np.integer)]
    return Pool(pl.DataFrame(columns), correct, cat_features=categories)


def _block_encoder(block: Block, seed: int) -> Pipeline:
    n_rows, n_columns = block.shape
    if n_columns <= COMPONENTS:
        return make_pipeline(StandardScaler())
    return make_pipeline(StandardScaler(), PCA(min(COMPONENTS, n_rows), random_state=seed))


def _logistic_regression(correct: NDArray[np.bool_], seed: int) -> LogisticRegression | LogisticRegressionCV:
    folds = min(5, np.bincount(correct).min())
    if folds < 2:
        return LogisticRegression(C=1.0, max_iter=1_000)
    return LogisticRegressionCV(
        Cs=INVERSE_PENALTIES,
        l1_ratios=(0.0,),
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        scoring="neg_log_loss",
        max_iter=1_000,
        use_legacy_attributes=False,
    )
