"""The stage `token_predictor`: a classifier of single tokens, and how good it is on the test groups."""

from __future__ import annotations

import numpy as np
import polars as pl

from apmae.common.seeding import derive_seed
from apmae.pipeline import Context
from apmae.study.artifacts import TOKEN_ARRAYS, TOKEN_IMPORTANCE, TOKEN_METRICS, TOKEN_PREDICTOR
from apmae.token_study.columns import CONFIDENCE, Tokens, inputs_of, without_heads
from apmae.token_study.measurement import ALL, Kind, measure
from apmae.token_study.models import Inputs
from apmae.token_study.predictor import TokenPredictor

CHUNK_TOKENS = 4_096


def run(context: Context) -> dict[str, object]:
    """Write `token_predictor/`, `token_metrics.parquet` and `token_importance.parquet`.

    Confidence alone, and the features without those of heads, are fitted and measured too.

    Returns:
        Counts for the stage's marker.

    Raises:
        ApmaeError: the study has no tokens of a split.
    """
    study, config = context.study, context.study.config
    if not config.tokens.windows:
        return {"tokens": 0}
    tokens = Tokens.of(study)
    train, test = tokens.rows("train"), tokens.rows("test")
    work = study.work_directory("token_predictor", context.key)
    model, log_odds = config.token_predictor.model, {}
    references = tuple(dict.fromkeys((CONFIDENCE, without_heads(config.token_predictor.features))))
    sets = (*references, config.token_predictor.features)
    for features in context.progress(sets, "token predictors"):
        if not (work / f"{features}.safetensors").exists():
            seed = derive_seed(config.seed, "token predictor", features)
            TokenPredictor.fit(tokens, train, features, model, seed, context.progress).save(work)
        predictor = TokenPredictor.load(work, features)
        log_odds[Kind(features, model)] = [predictor.log_odds(inputs_of(tokens, features, test, train))]
    bootstrap = derive_seed(config.seed, "token predictor", "bootstrap")
    metrics = measure(tokens.table[test], log_odds, bootstrap, references, context.progress)
    study.write(TOKEN_METRICS, metrics)
    inputs = inputs_of(tokens, predictor.features, test, train)
    n_heads = study.arrays(TOKEN_ARRAYS).attrs["n_heads"]
    assert isinstance(n_heads, int)
    study.write(TOKEN_IMPORTANCE, importance(predictor, inputs, tokens.table[test], n_heads))
    with study.writing(TOKEN_PREDICTOR) as directory:
        directory.mkdir()
        for features in sets:
            TokenPredictor.load(work, features).save(directory)
    area = metrics.filter(syntax=ALL, metric="auroc", difference_from="")
    return {"tokens": len(train), "auroc": dict(area.select("features", "value").iter_rows())}


def importance(predictor: TokenPredictor, inputs: Inputs, table: pl.DataFrame, n_heads: int) -> pl.DataFrame:
    """`TOKEN_IMPORTANCE` of tokens that the predictor was not fitted on, weighted to all tokens.

    Args:
        table: their rows of tokens.parquet.
    """
    pieces = np.array_split(np.arange(len(inputs)), -(-len(inputs) // CHUNK_TOKENS))
    moved = np.concatenate([predictor.explain(inputs.take(rows))[1] for rows in pieces])
    weights = table["weight"].to_numpy().astype(np.float64)
    sizes, means = (np.average(values, axis=0, weights=weights) for values in (np.abs(moved), moved))
    return TOKEN_IMPORTANCE.of_rows(
        (*divmod(number, n_heads), size, mean)
        for number, (size, mean) in enumerate(zip(sizes.tolist(), means.tolist(), strict=True))
    )
