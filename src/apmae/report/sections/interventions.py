"""Effects of changing heads, chosen on tuning prompts and measured on held-out ones (paper figure 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from apmae.figures import style
from apmae.figures.panels import legend, panel_grid, plain_number
from apmae.figures.wording import clearly, listed, out_of, readable
from apmae.intervention.choices import RANDOM
from apmae.intervention.operations import operation_of
from apmae.report import summaries
from apmae.report.chosen import ALL_TASKS, CHOSEN, REFERENCES, generated_table, side_effect_table
from apmae.report.data import ReportData, by_task
from apmae.report.section import Drawing, Section
from apmae.report.summaries import VARIANT

WORDS = {"zero": "zero ablation", RANDOM: "random heads, chosen likewise,"}


def section(data: ReportData) -> Section:
    """Interventions."""
    effects = summaries.intervention_effects(data.interventions, data.resampling)
    pooled = summaries.intervention_effects(data.interventions, data.resampling, pooled=True)
    figures = []
    if not paper_variant(effects).is_empty():
        figures += [_intervention_overview(pooled), _intervention_tasks(effects)]
    if effects.select(VARIANT).n_unique() > 1:
        figures.append(_intervention_variants(pooled))
    side_effects = side_effect_table(
        data.in_task_order(data.study.side_effects), data.chosen, data.resampling
    )
    written = generated_table(data.in_task_order(data.study.generated), data.resampling.seed)
    content = {
        "gate": data.config.intervention.gate,
        "flips": by_task(effects),
        "identity": summaries.identity_changes(data.interventions, data.prompts),
        "chosen": by_task(data.chosen),
        "versus": [said for column in REFERENCES if (said := versus(data.chosen, column))],
        "side_effects": list(side_effects.iter_rows(named=True)),
        "generated": list(written.iter_rows(named=True)),
    }
    return Section("interventions", "Interventions", tuple(figures), content)


def paper_variant(effects: pl.DataFrame) -> pl.DataFrame:
    """The paper's variant: zero ablation by the study's first importance."""
    first = effects.filter(operation="zero").head(1).select("importance", "operation")
    return effects.join(first, on=["importance", "operation"], how="semi", maintain_order="left")


def versus(chosen: pl.DataFrame, column: str) -> str:
    """In words: the number of tasks where each method beats a reference, and the tasks where none does.

    Args:
        chosen: `chosen.chosen_effects`.
        column: of `chosen.REFERENCES`.
    """
    compared = ~pl.col("method").is_in([CHOSEN, RANDOM, REFERENCES[column]])
    others = chosen.filter(pl.col("task") != ALL_TASKS, compared).drop_nulls(column)
    if others.is_empty():
        return ""
    sentences = []
    for (method,), rows in others.group_by("method", maintain_order=True):
        better = rows.filter(pl.col(column) > 0).height
        certain = rows.filter(pl.col(f"{column}_low") > 0).height
        sentences.append(f"{method} in {out_of(better, rows.height, 'task')}, {clearly(certain)}")
    none = others.group_by("task", maintain_order=True).agg(pl.col(column).max())
    left = [readable(task) for task in none.filter(pl.col(column) <= 0)["task"]]
    said = f"Better than {WORDS[REFERENCES[column]]} on held-out prompts: {'; '.join(sentences)}."
    return f"{said} In {listed(left)} none is." if left else said


def _intervention_overview(pooled: pl.DataFrame) -> Drawing:
    return Drawing(
        "intervention_overview",
        lambda: intervention_overview(paper_variant(pooled)),
        alt="Net change in accuracy over all tasks against the number of zero-ablated heads, by selection.",
        caption="Net accuracy change: prompts that became correct minus prompts that became incorrect, in "
        "percent of the held-out prompts of all tasks, with 95% CI. An uncorrected sweep. Positive, "
        "negative and neutral heads are chosen by their SHAP values on the training groups (towards correct, "
        "towards incorrect, nearest to zero). Random heads are a control (mean over seeds). Greedy adds "
        "heads one by one, at each step the head whose zero ablation helps the tuning prompts most. Paper "
        "figure 7 (a).",
    )


def _intervention_tasks(effects: pl.DataFrame) -> Drawing:
    return Drawing(
        "intervention_tasks",
        lambda: intervention_tasks(paper_variant(effects)),
        alt="Net change in accuracy against the number of zero-ablated heads, one panel for each task.",
        caption="Net accuracy change for each task, on shared axes. An uncorrected sweep. "
        "Paper figures 7 (b, c) and 18 to 27.",
        legible_pixels=760,
    )


def _intervention_variants(pooled: pl.DataFrame) -> Drawing:
    return Drawing(
        "intervention_variants",
        lambda: intervention_variants(pooled),
        alt="Net change over all tasks against the number of heads, one panel for each operation.",
        caption="Net accuracy change on the held-out prompts of all tasks, on shared axes. An "
        "uncorrected sweep: the same heads, zero-ablated, mean-ablated (mean output over tuning prompts) or "
        "scaled. Where the study has several importances, each has its panel. Greedy points have at most "
        "that many heads. Not in the paper.",
        legible_pixels=760,
    )


@style.styled
def intervention_overview(effects: pl.DataFrame) -> Figure:
    """Net change over all tasks against the number of zero-ablated heads (`intervention_effects`)."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.9))
    axes = figure.subplots()
    _curves(axes, effects, effects["selection"].unique(maintain_order=True).to_list())
    axes.set_xlabel("Zero-ablated heads (number, log scale)")
    axes.set_ylabel("Net change in accuracy\n(percentage points)")
    figure.legend(loc="outside lower left", ncols=6)
    style.title(figure, "Zero ablation: net change over all tasks")
    return figure


@style.styled
def intervention_tasks(effects: pl.DataFrame) -> Figure:
    """Net change per task, one panel each with shared axes (`intervention_effects`)."""
    panels = {readable(name): rows for (name,), rows in effects.group_by("task", maintain_order=True)}
    return _curve_panels(panels, "Zero-ablated heads", "Zero ablation: net change per task")


@style.styled
def intervention_variants(effects: pl.DataFrame) -> Figure:
    """Net change over all tasks, one panel per `VARIANT` (pooled `intervention_effects`)."""
    several = effects["importance"].n_unique() > 1
    panels = {
        operation_of(operation, factor).words + (f", by {readable(importance)}" if several else ""): rows
        for (importance, operation, factor), rows in effects.group_by(VARIANT, maintain_order=True)
    }
    return _curve_panels(panels, "Heads changed", "Changing heads: net change over all tasks")


def _curve_panels(panels_of: dict[str, pl.DataFrame], heads: str, title: str) -> Figure:
    """Net change against the number of heads, one panel per table with shared axes."""
    selections = pl.concat(list(panels_of.values()))["selection"].unique(maintain_order=True).to_list()
    change = "Net change in accuracy\n(percentage points)"
    figure, panels = panel_grid(len(panels_of), 3, 0.9, 2.2, f"{heads} (number, log scale)", change)
    for axes, (name, effects) in zip(panels, panels_of.items(), strict=True):
        _curves(axes, effects, selections)
        axes.set_title(name)
    legend(figure, panels, 6)
    style.title(figure, title)
    return figure


def _curves(axes: Axes, effects: pl.DataFrame, selections: Sequence[str]) -> None:
    colour, marker = style.colours(selections), style.markers(selections)
    counts = effects["n_heads"].to_list()
    left, right = min(counts) / 1.2, max(counts) * 1.2
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    for index, name in enumerate(selections):
        rows = effects.filter(pl.col("selection") == name).sort("n_heads")
        if rows.is_empty():
            continue
        # Curves are shifted by 1% of the axis each, so that intervals do not overlap.
        heads = rows["n_heads"].to_numpy() * (right / left) ** (0.01 * (index - (len(selections) - 1) / 2))
        change, low, high = (
            100 * rows[column].fill_null(np.nan).to_numpy() for column in ("net_change", "low", "high")
        )
        axes.vlines(heads, low, high, color=colour[name], linewidth=1, alpha=0.75)
        axes.plot(
            heads, change, color=colour[name], marker=marker[name], markersize=4, linewidth=1.4, label=name
        )
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(plain_number))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(axis="y")
