"""Importance of the heads to the classifiers (paper figures 5, 6 and 8 to 17)."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.head_maps import panel_title, task_maps
from apmae.figures.wording import SHAP_OF_KNOWN_HEADS
from apmae.prediction.importance import MIN_CLUSTER_PROMPTS
from apmae.report import summaries
from apmae.report.data import CLUSTERS, TOP_HEADS, ReportData, by_task
from apmae.report.section import Drawing, Section

NO_CAUSE = f"This says what a head tells of correctness, not what it does. {SHAP_OF_KNOWN_HEADS}."


def section(data: ReportData) -> Section:
    """Importance of every head."""
    figures = () if data.importance.is_empty() else (_importance(data), _mean_shap(data))
    others = {
        name: by_task(summaries.top_heads(rows, TOP_HEADS))
        for name, rows in data.importance_of.items()
        if name != CLUSTERS
    }
    return Section("importance", "Importance per head", figures, {"top_heads_of": others})


def _importance(data: ReportData) -> Drawing:
    return Drawing(
        "importance",
        lambda: importance(data.importance, data.top_heads, data.shape),
        alt="Heat maps of head importance by layer and head, one for each task.",
        caption="One cell per head: the largest difference between the mean SHAP values of its clusters, "
        "that is, how far knowing the head's pattern can move the predicted log-odds of a correct "
        "completion. SHAP values of a prompt are those of a model of other packages, and a cluster counts "
        f"from {MIN_CLUSTER_PROMPTS} prompts on. Beside a task's name: how far the models of different folds "
        "agree on the order of the heads (mean rank correlation). One colour scale for all tasks; the top "
        f"{TOP_HEADS} heads of each task are ringed, grey heads have no value. {NO_CAUSE} Paper figures 5 "
        "and 6.",
        legible_pixels=760,
    )


def _mean_shap(data: ReportData) -> Drawing:
    return Drawing(
        "mean_shap",
        lambda: mean_shap(data.importance, data.shape),
        alt="Heat maps of the mean SHAP value by layer and head, one for each task.",
        caption="One cell per head: blue where its patterns speak for a correct completion, averaged over "
        "the training prompts, each by a model of other packages, red where they speak for an incorrect one. "
        f"One colour scale for all tasks. {NO_CAUSE} Paper figures 8 to 17.",
        legible_pixels=760,
    )


@style.styled
def importance(table: pl.DataFrame, top: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Largest difference of mean SHAP values between a head's clusters, per task (figures 5, 6).

    Beside a task's name stands its rank correlation between folds.

    Args:
        table: the importance table.
        top: the heads to mark with a ring, from `summaries.top_heads`.
        shape: (layers, heads) of the target.
    """
    label = "Largest difference of mean\nSHAP values (log-odds)"
    figure, panels = task_maps(table, "max_difference", shape, label)
    for task, axes in panels.items():
        of_task = table.filter(pl.col("task") == task, pl.col("rank_correlation").is_not_nan())
        axes.set_title(panel_title(task, *of_task["rank_correlation"].head(1)))
        marked = top.filter(pl.col("task") == task)
        axes.plot(
            marked["head"], marked["layer"], "o", markersize=6.5, fillstyle="none", color=style.PALETTE[1]
        )
    style.title(figure, "Which heads tell correct from incorrect completions")
    return figure


@style.styled
def mean_shap(table: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Mean SHAP value of every head, per task (figures 8 to 17). Arguments as in `importance`."""
    figure, _ = task_maps(table, "mean_shap", shape, "Mean SHAP value\n(log-odds)")
    style.title(figure, "Towards which outcome a head speaks on average")
    return figure
