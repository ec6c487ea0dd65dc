"""The stage `token_predictor`: a classifier of single tokens, and how good it is on the test groups."""

from __future__ import annotations

import numpy as np

from apmae.common.seeding import derive_seed
from apmae.pipeline import Context
from apmae.study.artifacts import TOKEN_METRICS, TOKEN_PREDICTOR
from apmae.token_study.columns import CONFIDENCE, Tokens, inputs_of
from apmae.token_study.measurement import ALL, Kind, measure
from apmae.token_study.models import fit
from apmae.token_study.predictor import TokenPredictor


def run(context: Context) -> dict[str, object]:
    """Write `token_predictor/` and `token_metrics.parquet`; returns counts for the stage's marker.

    Raises:
        ApmaeError: the study has no tokens of a split.
    """
    study, config = context.study, context.study.config
    if not config.tokens.windows:
        return {"tokens": 0}
    tokens = Tokens.of(study)
    train, test = tokens.rows("train"), tokens.rows("test")
    labelled = tokens.table[train]
    groups = labelled["group"].rank("dense").to_numpy().astype(np.int64)
    work = study.work_directory("token_predictor", context.key)
    model, log_odds = config.token_predictor.model, {}
    sets = dict.fromkeys((CONFIDENCE, config.token_predictor.features))
    for features in context.progress(list(sets), "token predictors"):
        if not (work / f"{features}.safetensors").exists():
            fitted = fit(
                model,
                inputs_of(tokens, features, train, train),
                labelled["correct"].to_numpy(),
                labelled["weight"].to_numpy().astype(np.float64),
                groups,
                derive_seed(config.seed, "token predictor", features),
            )
            TokenPredictor(features, model, fitted).save(work)
        predictor = TokenPredictor.load(work, features)
        log_odds[Kind(features, model)] = [predictor.log_odds(inputs_of(tokens, features, test, train))]
    metrics = measure(tokens.table[test], log_odds, derive_seed(config.seed, "token predictor", "bootstrap"))
    study.write(TOKEN_METRICS, metrics)
    with study.writing(TOKEN_PREDICTOR) as directory:
        directory.mkdir()
        for features in sets:
            TokenPredictor.load(work, features).save(directory)
    area = metrics.filter(syntax=ALL, metric="auroc", difference_from="")
    return {"tokens": len(train), "auroc": dict(area.select("features", "value").iter_rows())}
