"""Prediction of correct completions: feature sets (paper figure 4 II), calibration and trust."""

from __future__ import annotations

import math
from textwrap import fill

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.panels import legend, panel_grid
from apmae.figures.wording import readable
from apmae.prediction.features import CONFIDENCE, STRONG
from apmae.report import selective, summaries
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section

PROTOCOLS = {"held_out": "held-out groups", "cross_validation": "cross-validation"}
METRIC_NAMES = {"accuracy": "Accuracy (fraction of prompts)", "auroc": "AUROC (0.5 is chance)"}
REFERENCE_NAMES = {CONFIDENCE: "confidence", STRONG: "all that needs no attention"}
PANEL_CHARACTERS = 26
"""Longest line of a title over one of four panels."""


def section(data: ReportData) -> Section:
    """Prediction of correctness."""
    tables = {protocol: summaries.metrics_table(data.metrics, protocol) for protocol in PROTOCOLS}
    held_out, crossed = (_prediction(data, tables[name], name, words) for name, words in PROTOCOLS.items())
    predictions = _held_out_predictions(data)
    trusted = [] if predictions.is_empty() else [_reliability(predictions), _risk_coverage(data, predictions)]
    added = summaries.gains(tables["held_out"])
    adds = [] if added.is_empty() else [_attention_adds(added)]
    return Section("prediction", "Prediction", (*held_out, *adds, *trusted, *crossed))


def _prediction(data: ReportData, table: pl.DataFrame, protocol: str, protocol_name: str) -> list[Drawing]:
    if table.is_empty():
        return []
    fitted = {
        "held_out": "Fitted on the training groups, measured on prompts of groups never seen; clusters, too, "
        "are fitted on the training groups only. Intervals resample whole groups.",
        "cross_validation": "The paper's protocol: folds that may cut through groups, over all of which "
        "prompts are counted together. Clusters are fitted on all prompts, the tested ones included. "
        "Intervals resample whole groups.",
    }[protocol]
    shown = table.filter(pl.col("features").is_in(data.feature_sets))
    drawing = Drawing(
        f"prediction_{protocol}",
        lambda: prediction(shown, protocol_name),
        alt=f"Accuracy and AUROC with 95% intervals per task and feature set, {protocol_name}.",
        caption=f"{fitted} Each mark is one feature set, the line its 95% interval; further right is better, "
        "and the dashed line at 0.5 is what guessing reaches on balanced prompts. Compare clusters with "
        "confidence and strong, which need no attention. Paper figure 4 (II).",
        legible_pixels=720,
    )
    return [drawing]


def _attention_adds(gains: pl.DataFrame) -> Drawing:
    return Drawing(
        "attention_adds",
        lambda: attention_adds(gains),
        alt="Gain in AUROC by blocks of heads over confidence and over all that needs no attention, by task.",
        caption="AUROC with a block of heads less AUROC without it, on prompts of held-out groups. Left: "
        "over the target's own confidence. Right: over all that is known without attention: confidence, the "
        "20 largest log probabilities, the tokens, whether the predicted one is of the hole's kind, the "
        "place in the file, and hidden states. Lines are paired 95% intervals over groups. A filled mark is "
        "significant after Holm's correction over tasks; an open one is not. Not in the paper.",
        legible_pixels=720,
    )


def _reliability(predictions: pl.DataFrame) -> Drawing:
    return Drawing(
        "reliability",
        lambda: reliability(selective.reliability(predictions)),
        alt="Fraction of correct completions against the predicted probability, by feature set.",
        caption="Held-out prompts of all tasks, gathered by predicted probability in bins of a tenth. On the "
        "dashed line, predictions are true; below it they promise too much. The size of a dot is the "
        "fraction of prompts in its bin, the line the 95% Wilson interval. Not in the paper.",
        legible_pixels=720,
    )


def _risk_coverage(data: ReportData, predictions: pl.DataFrame) -> Drawing:
    curves = selective.risk_coverage(predictions, data.study.tasks)
    return Drawing(
        "risk_coverage",
        lambda: risk_coverage(curves.filter(pl.col("features").is_in(_headline_sets(data)))),
        alt="Fraction of incorrect completions against the fraction trusted, one panel for each task.",
        caption="Held-out prompts, weighted to the base rate. From left to "
        "right ever less sure completions are trusted; the lower the curve, the fewer mistakes among them. "
        "At the right end all are trusted, and the mistakes are the target's own. Not in the paper.",
        legible_pixels=760,
    )


def _headline_sets(data: ReportData) -> list[str]:
    """Confidence, every single block, and the union of the most blocks."""
    unions = [name for name in data.feature_sets if "+" in name]
    largest = max(unions, key=lambda name: name.count("+"), default=None)
    return [name for name in data.feature_sets if "+" not in name or name == largest]


def _held_out_predictions(data: ReportData) -> pl.DataFrame:
    """Rows (task, features, probability, correct), confidence first, without shuffled labels."""
    order = pl.DataFrame({"features": data.feature_sets}).with_row_index("rank")
    outcomes = data.prompts.select("prompt_id", "correct")
    held_out = data.study.predictions.filter(protocol="held_out")
    held_out = held_out.join(order, on="features", maintain_order="left")
    table = data.in_task_order(held_out).sort("rank", maintain_order=True)
    return table.join(outcomes, on="prompt_id", maintain_order="left").select(
        "task", "features", "probability", "correct"
    )


@style.styled
def prediction(table: pl.DataFrame, protocol_name: str) -> Figure:
    """Accuracy and AUROC of every feature set with 95% intervals (a `summaries.metrics_table`)."""
    tasks = table["task"].unique(maintain_order=True).to_list()
    features = table["features"].unique(maintain_order=True).to_list()
    legend_rows = math.ceil(len(features) / 4)
    height = 1.1 + 0.22 * legend_rows + len(tasks) * (0.14 * len(features) + 0.16)
    figure = Figure(figsize=(style.WIDTH_INCHES, height))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, METRIC_NAMES, strict=True):
        _dots(axes, table, metric, tasks, features)
    panels[0].set_yticks(range(len(tasks)), [readable(task) for task in tasks])
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    panels[0].set_ylabel("Task")
    legend(figure, panels[:1], 4)
    style.title(figure, f"Predicting whether a completion is correct ({protocol_name})")
    return figure


def _dots(axes: Axes, table: pl.DataFrame, metric: str, tasks: list[str], features: list[str]) -> None:
    colour, marker = style.colours(features), style.markers(features)
    step = 0.8 / len(features)
    axes.axvline(0.5, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for index, name in enumerate(features):
        rows = table.filter(pl.col("features") == name)
        places = [tasks.index(task) + (index - (len(features) - 1) / 2) * step for task in rows["task"]]
        value = rows[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()
        low = rows[f"{metric}_low"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        high = rows[f"{metric}_high"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        axes.hlines(places, low, high, color=colour[name], linewidth=1.3)
        axes.plot(
            value, places, marker[name], color=colour[name], markersize=4.2, label=readable(name), zorder=3
        )
    for boundary in np.arange(0.5, len(tasks) - 0.5):
        axes.axhline(boundary, color=style.RULE, linewidth=0.7)
    axes.grid(axis="x")
    axes.set_xlabel(METRIC_NAMES[metric])


@style.styled
def attention_adds(gains: pl.DataFrame) -> Figure:
    """Gain in AUROC over both references, with paired 95% intervals (`summaries.gains`)."""
    tasks = gains["task"].unique(maintain_order=True).to_list()
    blocks = gains["block"].unique(maintain_order=True).to_list()
    height = 1.2 + len(tasks) * (0.16 * len(blocks) + 0.14)
    figure = Figure(figsize=(style.WIDTH_INCHES, height))
    panels = figure.subplots(1, len(REFERENCE_NAMES), sharey=True)
    colour, marker = style.colours(blocks), style.markers(blocks)
    step = 0.7 / len(blocks)
    for axes, (reference, name) in zip(panels, REFERENCE_NAMES.items(), strict=True):
        axes.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        for index, block in enumerate(blocks):
            rows = gains.filter(reference=reference, block=block)
            places = [tasks.index(task) + (index - (len(blocks) - 1) / 2) * step for task in rows["task"]]
            axes.hlines(places, rows["low"], rows["high"], color=colour[block], linewidth=1.3)
            filled = [colour[block] if significant else "white" for significant in rows["significant"]]
            axes.scatter(
                rows["gain"],
                places,
                s=22,
                c=filled,
                marker=marker[block],
                edgecolors=colour[block],
                zorder=3,
            )
            axes.plot([], [], marker[block], color=colour[block], label=readable(block))
        axes.grid(axis="x")
        axes.set_xlabel(f"Gain in AUROC over {name}")
    panels[0].set_yticks(range(len(tasks)), [readable(task) for task in tasks])
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    panels[0].set_ylabel("Task")
    legend(figure, panels[:1], 4)
    style.title(figure, "What attention adds to predicting a correct completion (held-out groups)")
    return figure


@style.styled
def reliability(table: pl.DataFrame) -> Figure:
    """Observed against predicted frequency, one panel per feature set (`selective.reliability`)."""
    sets = table["features"].unique(maintain_order=True).to_list()
    predicted, right = "Predicted probability", "Correct completions\n(fraction)"
    figure, panels = panel_grid(len(sets), 4, 0.7, 2.5, predicted, right)
    for axes, name in zip(panels, sets, strict=True):
        bins = table.filter(pl.col("features") == name)
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.vlines(bins["probability"], bins["low"], bins["high"], color=style.PALETTE[0], linewidth=1.2)
        sizes = 90 * bins["prompts"] / bins["prompts"].sum() + 8
        axes.scatter(bins["probability"], bins["frequency"], s=sizes, color=style.PALETTE[0], zorder=3)
        axes.set_title(fill(readable(name), PANEL_CHARACTERS))
        axes.grid()
    style.title(figure, "Are predicted probabilities true?")
    return figure


@style.styled
def risk_coverage(curves: pl.DataFrame) -> Figure:
    """Incorrect completions among the most trusted, one panel per task (`selective.risk_coverage`)."""
    tasks = curves["task"].unique(maintain_order=True).to_list()
    features = curves["features"].unique(maintain_order=True).to_list()
    colour = style.colours(features)
    trusted, wrong = "Completions trusted (fraction, surest first)", "Incorrect among them\n(fraction)"
    figure, panels = panel_grid(len(tasks), 3, 1.1, 2.2, trusted, wrong)
    for axes, task in zip(panels, tasks, strict=True):
        for name in features:
            curve = curves.filter(pl.col("task") == task, pl.col("features") == name)
            axes.plot(
                curve["coverage"], curve["risk"], color=colour[name], linewidth=1.3, label=readable(name)
            )
        axes.set_title(readable(task))
        axes.grid()
    legend(figure, panels, 4)
    style.title(figure, "How many mistakes remain when only the surest completions are trusted")
    return figure
