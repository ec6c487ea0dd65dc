"""Print the tables of docs/results.md, in Markdown, from a finished study.

python scripts/print_results.py runs/smollm2-java
python scripts/print_results.py runs/smollm2-java --side-effects-of learned_gates   # measures them first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError
from apmae.common.markdown import markdown_table
from apmae.common.progress import console
from apmae.figures.wording import head_name, points, points_interval
from apmae.intervention.choices import GATED
from apmae.intervention.conditions import condition_of
from apmae.intervention.operations import Mean, operation_of
from apmae.intervention.resampling import Resampling
from apmae.intervention.side_effects import side_effects
from apmae.prediction import measurement
from apmae.prediction.features import BASELINES, SHUFFLED
from apmae.report.chosen import ALL_TASKS, CHOSEN, REFERENCES, chosen_effects, side_effect_table
from apmae.report.summaries import compare, gains, intervention_effects, metrics_table
from apmae.study import Study
from apmae.target_model import Target

Row = Sequence[str]

SIGNIFICANT = "*, and counts of tasks: p < 0.05, Holm-corrected over tasks"

STABLE_BLOCK = "row_statistics"
"""Whose most important heads are listed."""


def main(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished study's directory.")],
    side_effects_of: Annotated[
        str | None,
        typer.Option(help="Measure and print what this method's interventions do elsewhere, only."),
    ] = None,
) -> None:
    """Print every table of a finished study."""
    study = Study.open(run)
    if side_effects_of is not None:
        _print_side_effects_of(study, side_effects_of)
        return
    held_out = metrics_table(study.metrics, "held_out")
    print("Accuracy (95% interval) on balanced held-out prompts:\n")
    _print_metric(held_out, "accuracy")
    print("AUROC (95% interval) on held-out prompts:\n")
    _print_metric(held_out, "auroc")
    print("AUROC within groups (95% interval) on held-out prompts:\n")
    _print_metric(held_out, "within_group_auroc")
    print("AUROC (95% interval) on held-out prompts whose predicted token is of the hole's kind:\n")
    _print_metric(held_out, "auroc_of_kind")
    print(f"Gain in AUROC on held-out prompts, paired (95% interval). {SIGNIFICANT}:\n")
    _print_gains(held_out)
    grouped = metrics_table(study.metrics, "grouped_cross_validation")
    print("AUROC (95% interval) by cross-validation over groups, on all prompts:\n")
    _print_metric(grouped, "auroc")
    print(f"Gain in AUROC by cross-validation over groups, paired (95% interval). {SIGNIFICANT}:\n")
    _print_gains(grouped)
    print("AUROC (95% interval) by random folds:\n")
    _print_metric(metrics_table(study.metrics, "cross_validation"), "auroc")
    print("Importance, and how far models fitted on folds of the training groups agree on it:\n")
    _print_stability(study)
    resampling = Resampling.of(study)
    print(
        "Net change in points of accuracy on held-out prompts of all tasks, by how many heads; uncorrected:\n"
    )
    _print_sweep(study, resampling)
    chosen = chosen_effects(study.interventions, study.choices, study.tasks, resampling)
    print("Net change in points of accuracy on held-out prompts, of what tuning prompts chose:\n")
    _print_chosen(chosen)
    print("What each task's best intervention does elsewhere:\n")
    _print_side_effects(side_effect_table(study.side_effects, chosen, resampling))


def _print_table(heading: Row, rows: Iterator[Row]) -> None:
    print(markdown_table(heading, rows) + "\n")


def _print_metric(table: pl.DataFrame, metric: str) -> None:
    """A row for each task, a column for each feature set: attention, unions, baselines and theirs."""
    baseline = pl.col("features").is_in([*BASELINES, "random_clusters", SHUFFLED])
    union = pl.col("features").str.contains("+", literal=True)
    for chosen in (~baseline & ~union, ~baseline & union, baseline & ~union, baseline & union):
        part = table.filter(chosen)
        by_task = part.group_by("task", maintain_order=True)
        names = part["features"].unique(maintain_order=True)
        rows = ((str(task), *_cells(of_task, metric, names)) for (task,), of_task in by_task)
        _print_table(("task", *(name.replace("+", " + ") for name in names)), rows)


def _cells(rows: pl.DataFrame, metric: str, features: Iterable[str]) -> Iterator[str]:
    by_features = {row["features"]: row for row in rows.iter_rows(named=True)}
    for name in features:
        row = by_features.get(name)
        if row is None or row[metric] is None:
            yield "-"
        else:
            yield f"{row[metric]:.2f} ({row[f'{metric}_low']:.2f}-{row[f'{metric}_high']:.2f})"


def _print_gains(table: pl.DataFrame) -> None:
    """What each block of heads adds to confidence and to `strong`, and in how many tasks significantly."""
    gained = gains(table)
    columns = gained.select("reference", "block").unique(maintain_order=True).rows()
    of_cell = {(row["task"], row["reference"], row["block"]): row for row in gained.iter_rows(named=True)}

    def rows() -> Iterator[Row]:
        for task in table["task"].unique(maintain_order=True):
            yield str(task), *(_gain_cell(of_cell.get((task, *column))) for column in columns)

    _print_table(("task", *(f"{block} over {reference}" for reference, block in columns)), rows())

    def counts() -> Iterator[Row]:
        for features in table["features"].unique(maintain_order=True):
            found = [compare(table, features, "auroc", reference) for reference in measurement.REFERENCES]
            yield features, *("-" if one is None else f"{one.above} / {one.below}" for one in found)

    _print_table(
        ("features", *(f"above / below {name}" for name in measurement.REFERENCES.values())), counts()
    )


def _gain_cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    return f"{row['gain']:+.3f}{'*' * row['significant']} ({row['low']:+.3f} to {row['high']:+.3f})"


def _print_stability(study: Study) -> None:
    """Rank correlation of each block's importance, and the heads on which the folds' models agree."""
    blocks = study.importance["features"].unique(maintain_order=True).to_list()

    def rows() -> Iterator[Row]:
        for (task,), of_task in study.importance.group_by("task", maintain_order=True):
            correlations = [of_task.filter(features=block)["rank_correlation"][0] for block in blocks]
            top = of_task.filter(features=STABLE_BLOCK).sort("max_difference", descending=True).head(5)
            heads = top.filter(pl.col("top_fraction") == 1).select("layer", "head")
            named = ", ".join(head_name(layer, head) for layer, head in heads.iter_rows())
            yield str(task), *(f"{value:.2f}" for value in correlations), named

    _print_table(("task", *blocks, f"first five of {STABLE_BLOCK} that every fold names"), rows())


def _print_sweep(study: Study, resampling: Resampling) -> None:
    """Every condition over the prompts of all tasks, but greedy ones, whose numbers of heads differ."""
    effects = intervention_effects(study.interventions, resampling, pooled=True)
    effects = effects.filter(pl.col("selection") != "greedy")
    counts = effects["n_heads"].unique().sort()

    def rows() -> Iterator[Row]:
        by = ("operation", "factor", "importance", "selection")
        for names, conditions in effects.group_by(by, maintain_order=True):
            operation, factor, importance, selection = names
            of_count = {row["n_heads"]: row for row in conditions.iter_rows(named=True)}
            whose = "" if selection == "random" else str(importance)
            cells = (_sweep_cell(of_count.get(count)) for count in counts)
            yield operation_of(operation, factor).words, whose, str(selection), *cells

    _print_table(("operation", "importance", "heads", *map(str, counts)), rows())


def _sweep_cell(row: dict[str, Any] | None) -> str:
    """Net change, its interval, and the prompts that became correct and incorrect."""
    if row is None:
        return "-"
    change = _net_change(row)
    return f"{change}, +{row['incorrect_to_correct']:.0f} -{row['correct_to_incorrect']:.0f}"


def _print_chosen(chosen: pl.DataFrame) -> None:
    """What tuning prompts chose, a column a method: balanced, at base rates, beside the references."""
    methods = chosen["method"].unique(maintain_order=True)

    def rows() -> Iterator[Row]:
        for (task,), of_task in chosen.group_by("task", maintain_order=True):
            yield str(task), *map(_chosen_cell, of_task.iter_rows(named=True))

    def differences() -> Iterator[Row]:
        for row in chosen.filter(task=ALL_TASKS).iter_rows(named=True):
            yield row["method"], *(_interval(row, column) for column in REFERENCES)

    def at_base_rates() -> Iterator[Row]:
        for (task,), of_task in chosen.group_by("task", maintain_order=True):
            rows = of_task.iter_rows(named=True)
            yield str(task), *(_interval(row, "base_rate_net_change") for row in rows)

    _print_table(("task", *methods), rows())
    _print_table(("task, at its base rate", *methods), at_base_rates())
    heading = ("method", *(f"all tasks, minus {method}" for method in REFERENCES.values()))
    _print_table(heading, differences())


def _interval(row: dict[str, Any], column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return "-" if row[column] is None else f"{points(row[column])} {points_interval(low, high)}"


def _chosen_cell(row: dict[str, Any]) -> str:
    if row["selection"] is None and row["task"] != ALL_TASKS:
        return "nothing helped"
    change = _net_change(row)
    return change if row["selection"] is None else f"{change}, {row['n_heads']} {row['selection']}"


def _net_change(row: dict[str, Any]) -> str:
    return f"{points(row['net_change'])} {points_interval(row['low'], row['high'])}"


def _print_side_effects_of(study: Study, method: str) -> None:
    """Of the interventions that one method chose on tuning prompts; the study has only each task's best."""
    if method in (GATED, Mean.name):
        raise ApmaeError(
            f"--side-effects-of measures neither gated methods nor mean ablation, as {method!r} is"
        )
    choices = study.choices.filter(method=method)
    if choices.is_empty():
        raise ApmaeError(f"{study.directory}: no task has an intervention of {method!r}")
    conditions = [condition_of(study.conditions.row(number, named=True)) for number in choices["condition"]]
    target = Target.from_config(study.config.target)
    tables = [
        side_effects(study, target, condition, None) for condition in console(conditions, "side effects")
    ]
    resampling = Resampling.of(study)
    chosen = chosen_effects(study.interventions, study.choices, study.tasks, resampling)
    of_method = chosen.filter(method=method).with_columns(method=pl.lit(CHOSEN))
    print(f"What each task's intervention by {method} does elsewhere:\n")
    _print_side_effects(side_effect_table(pl.concat(tables), of_method, resampling))


def _print_side_effects(table: pl.DataFrame) -> None:
    def rows() -> Iterator[Row]:
        for row in table.iter_rows(named=True):
            others = f"{points(row['others_net_change'])} {points_interval(row['low'], row['high'])}"
            worst = f"{row['worst_task']} {points(row['worst_net_change'])}"
            perplexity = f"{row['perplexity_before']:.1f} to {row['perplexity_after']:.1f}"
            yield row["task"], points(row["gain"]), others, worst, perplexity

    heading = ("task", "own gain", "all other tasks", "worst other task", "perplexity of random code")
    _print_table(heading, rows())


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
