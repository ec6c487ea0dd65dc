"""Single tokens: how well correctness is predicted of each, by syntax class, and which heads move that."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.head_maps import task_maps
from apmae.figures.panels import legend
from apmae.figures.wording import readable
from apmae.prediction.measurement import holm
from apmae.report.data import TOP_HEADS, ReportData
from apmae.report.section import Drawing, Section
from apmae.report.summaries import SIGNIFICANCE
from apmae.study.artifacts import TOKEN_IMPORTANCE, TOKEN_METRICS
from apmae.token_study.columns import CONFIDENCE, without_heads
from apmae.token_study.measurement import ALL, COVERAGES, FEWEST_TOKENS

FEWEST_DRAWN = 100
"""Tokens of a class in the figure: the interval of a handful would take the width from all others."""


def section(data: ReportData) -> Section | None:
    """The predictor of tokens; None for a study without one."""
    metrics = data.study.read_if_there(TOKEN_METRICS)
    if metrics is None:
        return None
    importance = data.study.read_if_there(TOKEN_IMPORTANCE)
    assert importance is not None
    features = data.config.token_predictor.features
    rows = class_rows(metrics, features)
    content = {
        "features": features,
        "without": without_heads(features),
        "rows": rows,
        "is_significant": is_significant,
        "risks": risk_rows(metrics, features),
        "fewest": FEWEST_TOKENS,
        "top": importance.sort("mean_size", descending=True).head(TOP_HEADS).to_dicts(),
    }
    classes = Drawing(
        "token_classes",
        lambda: token_classes(
            [row for row in rows if row["is_all"] or row["tokens"] >= FEWEST_DRAWN], features
        ),
        alt="AUROC by syntax class with and without heads, and the gain with its 95% interval.",
        caption="Left: how well is it predicted whether the target's most probable token is right? Tokens of "
        "held-out groups, their number in brackets. Right: what heads add, with a paired 95% interval over "
        "groups. A filled mark is significant: after Holm's correction over the classes, for all tokens an "
        "interval without zero. "
        f"Classes in grey have fewer than {FEWEST_TOKENS:,} tokens and are no claim; those of fewer than "
        f"{FEWEST_DRAWN} are in the table alone. Not in the paper.",
        legible_pixels=720,
    )
    heads = Drawing(
        "token_importance",
        lambda: token_importance(importance, data.shape),
        alt="Heat map of the heads by how far they move the predictor of tokens.",
        caption="One cell per head: how far it moves the predicted log-odds that the target's most probable "
        "token is right, on average over the tokens of held-out groups, to first order. Not in the paper.",
        legible_pixels=480,
    )
    return Section("tokens", "Every token", (classes, heads), content)


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
def token_classes(rows: list[dict[str, Any]], features: str) -> Figure:
    """AUROC by syntax class, and what heads add to it with its interval (`class_rows`)."""
    areas = {CONFIDENCE: "confidence", without_heads(features): "without", features: "attention"}
    colour, marker = style.colours(list(areas)), style.markers(list(areas))
    figure = Figure(figsize=(style.WIDTH_INCHES, 1.3 + 0.26 * len(rows)))
    levels, gains = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    for name, column in areas.items():
        values = [row[column] for row in rows]
        levels.plot(values, places, marker[name], color=colour[name], markersize=4.6, label=readable(name))
    gains.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows):
        is_claim = row["is_all"] or row["tokens"] >= FEWEST_TOKENS
        ink = colour[features] if is_claim else style.ABSENT
        filled = ink if is_significant(row) else "white"
        gains.hlines(place, row["low"], row["high"], color=ink, linewidth=1.3)
        gains.plot(row["gain"], place, marker[features], color=ink, markerfacecolor=filled, markersize=4.6)
    names = ["all" if row["is_all"] else readable(row["syntax"]) for row in rows]
    levels.set_yticks(places, [f"{name} ({row['tokens']:,})" for name, row in zip(names, rows, strict=True)])
    levels.set_ylim(len(rows) - 0.5, -0.5)
    levels.set_ylabel("Syntax class")
    levels.set_xlabel("AUROC")
    gains.set_xlabel(f"Gain in AUROC over {readable(without_heads(features))}")
    for axes in (levels, gains):
        axes.grid(axis="x")
        axes.axhline(0.5, color=style.RULE, linewidth=0.7)
    legend(figure, [levels], 3)
    style.title(figure, "Is the predicted token right? What heads add, by syntax class (held-out groups)")
    return figure


def is_significant(row: dict[str, Any]) -> bool:
    """Whether a row of `class_rows` has a gain or a loss to speak of."""
    return bool(row["significant"] or (row["is_all"] and (row["low"] > 0 or row["high"] < 0)))


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
