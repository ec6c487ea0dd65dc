"""The answers at the start of the report, and the tables behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from apmae.figures.wording import count, head_name, listed, out_of, points, points_interval, readable, signed
from apmae.intervention.choices import RANDOM
from apmae.prediction.features import BASELINES, CONFIDENCE, SHUFFLED, STRONG
from apmae.prediction.measurement import REFERENCES
from apmae.report import summaries
from apmae.report.chosen import ALL_TASKS, CHOSEN
from apmae.report.data import CLUSTERS, ReportData, by_task
from apmae.report.section import Section
from apmae.report.sections.heads import leading_heads
from apmae.report.summaries import SIGNIFICANCE, compare

METRICS = {
    "auroc": "AUROC",
    "accuracy": "Accuracy",
}
CONTROLS = {
    "auroc_of_kind": "AUROC among predicted tokens of the hole's kind",
    "within_group_auroc": "AUROC within groups",
}
"""Metrics that a task's label, and the package, cannot raise."""
BESIDE = ("token_kind", "file_memory")
"""Baselines that stand beside the study's own feature sets in every table."""
MORE_METRICS = {
    "balanced_accuracy": "Balanced accuracy",
    "auprc": "Average precision",
    "prr_at_base_rate": "Prediction-rejection ratio at the base rate",
    "brier_skill_at_base_rate": "Brier skill at the base rate",
    "ece_at_base_rate": "Expected calibration error at the base rate, smaller is better",
    "aurc_at_base_rate": "Area under the risk-coverage curve at the base rate, smaller is better",
}
MOST_NAMED = 5
MOST_TOLD = 3
"""Tasks whose head of largest effect the first answer names."""
BY_CONFIDENCE, BY_STRONG = REFERENCES
ATTENTION = ("copy_attention", "row_statistics", CLUSTERS)
"""Blocks of heads whose comparison with the baselines is told first."""
WITHOUT_ATTENTION = "all that needs no attention"
"""The feature set `strong` in words."""


def section(data: ReportData) -> Section:
    """The answers."""
    content = {
        "answers": answers(_leading(data.effects), data.top_heads, data.held_out, data.chosen),
        "top_heads": by_task(data.top_heads),
        "comparisons": comparisons(data.held_out),
        "metric_tables": _metric_tables(data),
        "shuffled": shuffled_labels(data.held_out),
        "changes": beside_random_heads(data.chosen),
    }
    return Section("answers", "The answers first", (), content)


@dataclass(frozen=True)
class Answer:
    """A question, its answer in one line, and necessary details."""

    question: str
    headline: str
    detail: str


def answers(
    leading: pl.DataFrame, top: pl.DataFrame, held_out: pl.DataFrame, chosen: pl.DataFrame
) -> list[Answer]:
    """Answer a reader's first questions.

    Args:
        leading: `EFFECTS` of the head of largest effect on each task; may be empty.
        top: heads per task, `summaries.top_heads`.
        held_out: `summaries.metrics_table` of the held-out protocol.
        chosen: `chosen.chosen_effects`.
    """
    first = [_what_heads_do(leading, top)] if leading.height else []
    return [*first, _which_heads(top), _how_predictable(held_out), _what_changing_did(chosen)]


def shuffled_labels(held_out: pl.DataFrame) -> str | None:
    """Result of the same classifiers on shuffled outcomes, or None if it was not measured."""
    if "auroc" not in held_out.columns:
        return None
    known = held_out.filter(pl.col("features") == SHUFFLED).drop_nulls(["auroc", "auroc_low", "auroc_high"])
    if known.is_empty():
        return None
    inside = known.select(((pl.col("auroc_low") <= 0.5) & (pl.col("auroc_high") >= 0.5)).sum()).item()
    return (
        f"Fitted on shuffled labels, and measured against them, all blocks together reach an AUROC of "
        f"{_span(known['auroc'].to_list())}; the 95% interval holds chance, 0.5, in "
        f"{out_of(inside, known.height, 'task')}. Anything but chance would be a leak, but one interval in "
        f"twenty misses it by chance."
    )


def _span(values: list[float]) -> str:
    return f"{values[0]:.2f}" if len(values) == 1 else f"{min(values):.2f} to {max(values):.2f}"


def _leading(effects: pl.DataFrame) -> pl.DataFrame:
    """The head of largest effect on each task's training prompts, and its effect on held-out ones."""
    tasks = effects.partition_by("task", maintain_order=True)
    return pl.concat([effects.clear(), *(leading_heads(of_task, 1) for of_task in tasks)])


def _what_heads_do(leading: pl.DataFrame, top: pl.DataFrame) -> Answer:
    named = [
        f"{head_name(row['layer'], row['head'])} for {readable(row['task'])} ({signed(row['value'])} nats)"
        for row in leading.sort(pl.col("value").abs(), descending=True).head(MOST_TOLD).iter_rows(named=True)
    ]
    clear = leading.filter((pl.col("low") > 0) | (pl.col("high") < 0)).height
    first_by_shap = top.group_by("task", maintain_order=True).first()
    same = leading.join(first_by_shap, on=["task", "layer", "head"], how="semi").height
    return Answer(
        "Which heads do most?",
        f"Ablated alone, {listed(named)}.",
        "Change of the true token's log probability on held-out prompts, by the head of largest effect on "
        "each task's training prompts. Its 95% interval excludes zero in "
        f"{out_of(clear, leading.height, 'task')}. SHAP importance names the same head first in "
        f"{out_of(same, leading.height, 'task')}.",
    )


def _which_heads(top: pl.DataFrame) -> Answer:
    question = "Which heads know most?"
    if top.is_empty():
        return Answer(question, "Importance was computed for no task.", "")
    first = top.group_by("task", maintain_order=True).first()
    leaders = [f"{head_name(layer, head)}" for layer, head in first.select("layer", "head").iter_rows()]
    distinct = list(dict.fromkeys(leaders))
    shared = (
        top.group_by("layer", "head", maintain_order=True)
        .len()
        .filter(pl.col("len") > 1)
        .sort("len", descending=True, maintain_order=True)
    )
    if len(leaders) == 1:
        headline = f"Head {leaders[0]} leads for {readable(first['task'][0])}."
    elif len(distinct) == 1:
        headline = f"Head {leaders[0]} leads in all {len(leaders)} tasks."
    else:
        named = f": {listed(distinct)}" if len(distinct) <= MOST_NAMED else ""
        headline = f"{count(len(distinct), 'head')} lead {count(len(leaders), 'task')}{named}."
    per_task = max(top.group_by("task").len()["len"].to_list())
    sharing = [
        f"{head_name(layer, head)} ({tasks} tasks)" for layer, head, tasks in shared.head(3).iter_rows()
    ]
    detail = (
        f"Among the top {per_task} of more than one task: {listed(sharing)}."
        if sharing
        else f"No head is among the top {per_task} of two tasks."
    )
    return Answer(
        question, headline, f"L5H6 is head 6 of layer 5, both from 0. {detail if len(leaders) > 1 else ''}"
    )


def _how_predictable(held_out: pl.DataFrame) -> Answer:
    question = "Can attention tell whether a completion is correct?"
    alone = [(block, values) for block in ATTENTION if (values := _values(held_out, block))]
    if not alone:
        return Answer(question, "Not measured on held-out groups.", "")
    block, values = alone[0]
    headline = f"{readable(block).capitalize()} alone reach an AUROC of {_span(values)} on held-out groups."
    added = [found for found in comparisons(held_out) if found["added"]]
    if not added:
        return Answer(question, headline, "")
    told = next((found for found in added if found["reference"] == WITHOUT_ATTENTION), added[0])
    detail = (
        f"{readable(told['block']).capitalize()}, added to {told['reference']}, change its AUROC by "
        f"{told['differences']}: significantly up in {told['above']}, down in {told['below']}."
    )
    return Answer(question, headline, detail)


def comparisons(held_out: pl.DataFrame) -> list[dict[str, Any]]:
    """How attention compares with what needs none: alone with confidence, and added to it and to `strong`.

    Returns:
        By row: `block`; `reference`, in words; whether the block is `added` to it; `differences` of AUROC,
        from the smallest to the largest of the tasks; in how many it is significantly `above` and `below`.
    """
    rows = []
    for block in ATTENTION:
        for features, column, reference in (
            (block, BY_CONFIDENCE, CONFIDENCE),
            (f"{CONFIDENCE}+{block}", BY_CONFIDENCE, CONFIDENCE),
            (f"{STRONG}+{block}", BY_STRONG, WITHOUT_ATTENTION),
        ):
            found = compare(held_out, features, "auroc", column)
            if found is not None:
                rows.append(
                    {
                        "block": block,
                        "reference": reference,
                        "added": features != block,
                        "differences": _signed_span(found.least, found.most),
                        "above": out_of(found.above, found.tasks, "task"),
                        "below": out_of(found.below, found.tasks, "task"),
                    }
                )
    return rows


def _signed_span(least: float, most: float) -> str:
    return f"{least:+.3f}" if least == most else f"{least:+.3f} to {most:+.3f}"


def _what_changing_did(chosen: pl.DataFrame) -> Answer:
    question = "What does changing heads do?"
    if chosen.is_empty():
        return Answer(question, "No intervention was run.", "")
    of_method = {row["method"]: row for row in chosen.filter(task=ALL_TASKS).iter_rows(named=True)}
    of_tasks = chosen.filter(pl.col("task") != ALL_TASKS, method=CHOSEN)
    if of_tasks["condition"].null_count() == of_tasks.height:
        return Answer(question, "Nothing that was tried helped the tuning prompts of any task.", "")
    changed = of_method.pop(CHOSEN)
    above, below = (of_tasks.filter(clear).height for clear in (pl.col("low") > 0, pl.col("high") < 0))
    sentences = [
        "On the held-out prompts of all tasks, by the intervention that gains most on each task's tuning "
        "prompts.",
        f"The 95% interval lies above zero in {out_of(above, of_tasks.height, 'task')}, "
        f"below zero in {out_of(below, of_tasks.height, 'task')}.",
    ]
    random = of_method.pop(RANDOM, None)
    if random is not None:
        difference = points_interval(changed["random_difference_low"], changed["random_difference_high"])
        sentences.append(
            f"Random heads, chosen likewise: {_change(random)}; the difference is "
            f"{points(changed['random_difference'])} {difference}."
        )
    return Answer(question, f"{_change(changed, ' points')} of accuracy.", " ".join(sentences))


def beside_random_heads(chosen: pl.DataFrame) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """What was chosen for each task, and random heads that were chosen likewise, if the study has any."""
    random = {row["task"]: row for row in chosen.filter(method=RANDOM).iter_rows(named=True)}
    return [(row, random.get(row["task"])) for row in chosen.filter(method=CHOSEN).iter_rows(named=True)]


def _change(row: dict[str, Any], unit: str = "") -> str:
    return f"{points(row['net_change'])}{unit} {points_interval(row['low'], row['high'])}".strip()


def _values(table: pl.DataFrame, features: str) -> list[float]:
    if "auroc" not in table.columns:
        return []
    return table.filter(pl.col("features") == features)["auroc"].drop_nulls().to_list()


def _metric_tables(data: ReportData) -> dict[str, list[dict[str, Any]]]:
    """Tables with a row per task and a column per feature set, by their place on the page."""
    held_out, crossed = data.held_out, summaries.metrics_table(data.metrics, "cross_validation")
    grouped = summaries.metrics_table(data.metrics, "grouped_cross_validation")
    own = data.feature_sets
    shown = [*own, *BESIDE]
    alone = [name for name in BASELINES if name not in shown and "+" not in name]
    alone += [name for name in ("random_clusters", SHUFFLED) if name in set(held_out["features"])]
    together = [name for name in BASELINES if "+" in name]
    baselines = {"AUROC of the baselines": alone, "AUROC of the baselines, with confidence": together}
    return {
        "main": [_metric_table(held_out, metric, name, shown) for metric, name in METRICS.items()],
        "controls": [
            *[_metric_table(held_out, metric, name, shown) for metric, name in CONTROLS.items()],
            *_difference_tables(held_out, shown),
        ],
        "baselines": [_metric_table(held_out, "auroc", name, sets) for name, sets in baselines.items()],
        "more": [_metric_table(held_out, metric, name, shown) for metric, name in MORE_METRICS.items()],
        "grouped_cross_validation": [
            *[_metric_table(grouped, metric, name, shown) for metric, name in (METRICS | CONTROLS).items()],
            *_difference_tables(grouped, shown),
        ],
        "cross_validation": [
            _metric_table(crossed, metric, name, shown) for metric, name in (METRICS | CONTROLS).items()
        ],
    }


def _metric_table(table: pl.DataFrame, metric: str, name: str, features: list[str]) -> dict[str, Any]:
    title = f"{name} (95% CI; bold: best of the task)"
    return _table(table, metric, title, features, lambda row: bool(row[f"{metric}_best"]))


def _difference_tables(table: pl.DataFrame, features: list[str]) -> list[dict[str, Any]]:
    """AUROC less that of confidence, and less that of all that needs no attention."""
    references = {BY_CONFIDENCE: CONFIDENCE, BY_STRONG: f"{STRONG} (all that needs no attention)"}
    return [
        _difference_table(table, f"auroc_{column}", f"AUROC, difference from {name}", features)
        for column, name in references.items()
    ]


def _difference_table(table: pl.DataFrame, column: str, name: str, features: list[str]) -> dict[str, Any]:
    title = f"{name} (paired 95% CI; bold: significant after Holm's correction over tasks)"

    def significant(row: dict[str, Any]) -> bool:
        p = row[f"{column}_p_holm"]
        return p is not None and p < SIGNIFICANCE

    return {**_table(table, column, title, features, significant), "signed": True}


def _table(
    table: pl.DataFrame,
    column: str,
    title: str,
    features: list[str],
    bold: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    shown = [name for name in features if name in set(table["features"])] if column in table.columns else []
    cells = {(row["task"], row["features"]): row for row in table.iter_rows(named=True)}
    prompts = table.group_by("task", maintain_order=True).agg(pl.col("prompts").max())
    return {
        "title": title,
        "features": shown,
        "rows": [
            (task, number, [_cell(cells.get((task, name)), column, bold) for name in shown])
            for task, number in prompts.iter_rows()
        ],
        "signed": False,
    }


def _cell(
    row: dict[str, Any] | None, column: str, bold: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    if row is None or row[column] is None:
        return None
    return {
        "value": row[column],
        "low": row[f"{column}_low"],
        "high": row[f"{column}_high"],
        "bold": bold(row),
    }
