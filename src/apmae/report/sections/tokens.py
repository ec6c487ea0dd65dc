"""Single tokens: how well correctness is predicted of each, by syntax class, and which heads move that."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.head_maps import task_maps
from apmae.prediction.measurement import holm
from apmae.report.data import TOP_HEADS, ReportData
from apmae.report.section import Drawing, Section
from apmae.report.summaries import SIGNIFICANCE
from apmae.study.artifacts import TOKEN_IMPORTANCE, TOKEN_METRICS
from apmae.token_study.columns import CONFIDENCE, without_heads
from apmae.token_study.measurement import ALL, COVERAGES, FEWEST_TOKENS


def section(data: ReportData) -> Section | None:
    """The predictor of tokens; None for a study without one."""
    metrics = data.study.read_if_there(TOKEN_METRICS)
    if metrics is None:
        return None
    importance = data.study.read_if_there(TOKEN_IMPORTANCE)
    assert importance is not None
    content = {
        "features": data.config.token_predictor.features,
        "without": without_heads(data.config.token_predictor.features),
        "rows": class_rows(metrics, data.config.token_predictor.features),
        "risks": risk_rows(metrics, data.config.token_predictor.features),
        "fewest": FEWEST_TOKENS,
        "top": importance.sort("mean_size", descending=True).head(TOP_HEADS).to_dicts(),
    }
    drawing = Drawing(
        "token_importance",
        lambda: token_importance(importance, data.shape),
        alt="Heat map of the heads by how far they move the predictor of tokens.",
        caption="One cell per head: how far it moves the predicted log-odds that the target's most probable "
        "token is right, on average over the tokens of held-out groups, to first order. Not in the paper.",
        legible_pixels=480,
    )
    return Section("tokens", "Every token", (drawing,), content)


def class_rows(metrics: pl.DataFrame, features: str) -> list[dict[str, Any]]:
    """A row for all tokens, then one for each syntax class, most tokens first.

    `gain` is over the same features without those of heads; `significant` is after Holm's correction over the
    classes that have enough tokens.
    """
    areas, without = metrics.filter(metric="auroc"), without_heads(features)
    values = areas.filter(difference_from="")
    table = (
        values.filter(features=features)
        .select("syntax", "tokens", attention="value")
        .join(values.filter(features=CONFIDENCE).select("syntax", confidence="value"), on="syntax")
        .join(values.filter(features=without).select("syntax", without="value"), on="syntax")
        .join(
            areas.filter(features=features, difference_from=without).select(
                "syntax", "low", "high", "p", gain="value"
            ),
            on="syntax",
        )
        .sort(pl.col("syntax") != ALL, -pl.col("tokens").cast(pl.Int64), "syntax")
    )
    tested = table.filter(pl.col("syntax") != ALL, pl.col("tokens") >= FEWEST_TOKENS)
    corrected = dict(zip(tested["syntax"], holm(tested["p"].to_numpy()), strict=True))
    return [
        {
            **row,
            "significant": corrected.get(row["syntax"], 1.0) < SIGNIFICANCE,
            "is_all": row["syntax"] == ALL,
        }
        for row in table.iter_rows(named=True)
    ]


def risk_rows(metrics: pl.DataFrame, features: str) -> list[dict[str, Any]]:
    """The fraction of wrong tokens among the most trusted, by how many are trusted."""
    rows, without = [], without_heads(features)
    for percent in COVERAGES:
        risks = metrics.filter(metric=f"risk_at_{percent}", syntax=ALL)
        if risks.is_empty():
            continue  # of an earlier version
        plain = risks.filter(difference_from="")
        change = risks.filter(features=features, difference_from=without).row(0, named=True)
        rows.append(
            {
                "percent": percent,
                "confidence": plain.filter(features=CONFIDENCE)["value"].item(),
                "without": plain.filter(features=without)["value"].item(),
                "attention": plain.filter(features=features)["value"].item(),
                "change": change["value"],
                "low": change["low"],
                "high": change["high"],
            }
        )
    return rows


@style.styled
def token_importance(table: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Mean size of what every head moves, as one map."""
    figure, _ = task_maps(
        table.with_columns(pl.lit("all tokens").alias("task")),
        "mean_size",
        shape,
        "Mean absolute change\n(log-odds)",
    )
    style.title(figure, "Which heads move the prediction of single tokens")
    return figure
