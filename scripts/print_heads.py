"""Print what heads do and look like, in Markdown, from a study whose stages `effects` and `roles` are done.

python scripts/print_heads.py runs/java-fim-heads
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from apmae.common.command import one_line_errors
from apmae.common.markdown import markdown_table
from apmae.figures.wording import head_name, points, points_interval, readable
from apmae.report.sections.heads import leading_heads, role_words
from apmae.report.sections.roles import CODE, role_rows
from apmae.study import Study

HEADS = 3
"""Heads of largest effect that are listed for each task."""

EFFECTS = ("task", "head", "effect, nats", "accuracy, points", "attends to")
OVERVIEW = ("task", "heads", "suffers without", "gains without", "correlation", "rank correlation")
ROLES = ("role", "queries", "heads", "largest excess")


def main(run: Annotated[Path, typer.Argument(metavar="RUN", help="The study's directory.")]) -> None:
    """Print the tables."""
    study = Study.open(run)
    print(f"The {HEADS} heads of largest effect on each task's training prompts, on held-out prompts:\n")
    print(markdown_table(EFFECTS, _effects(study)) + "\n")
    print("Heads whose effect has an interval without zero, and what attribution knows of the effects:\n")
    print(markdown_table(OVERVIEW, _overview(study)) + "\n")
    print("Heads that have a role beyond uniform attention, and the three of the largest excess (uniform):\n")
    print(markdown_table(ROLES, _roles(study)) + "\n")


def _effects(study: Study) -> Iterator[tuple[str, ...]]:
    split = study.config.measured_split
    for (task,), effects in study.effects.group_by("task", maintain_order=True):
        correct = effects.filter(split=split, operation="zero", outcome="correct", weighting="base_rate")
        for row in leading_heads(effects, HEADS).iter_rows(named=True):
            layer, head = row["layer"], row["head"]
            accuracy = correct.filter(layer=layer, head=head).to_dicts()
            yield (
                readable(str(task)),
                head_name(layer, head),
                f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
                _points(accuracy[0]) if accuracy else "",
                role_words(study.roles, layer, head),
            )


def _overview(study: Study) -> Iterator[tuple[str, ...]]:
    split = study.config.measured_split
    exact = study.effects.filter(
        split=split, method="exact", operation="zero", outcome="log_probability", weighting="base_rate"
    )
    agreement = study.effect_agreement.filter(split=split)
    for (task,), effects in exact.group_by("task", maintain_order=True):
        agreed = agreement.filter(task=task).row(0, named=True)
        yield (
            readable(str(task)),
            str(effects.height),
            str(effects.filter(pl.col("high") < 0).height),
            str(effects.filter(pl.col("low") > 0).height),
            f"{agreed['correlation']:.2f}",
            f"{agreed['rank_correlation']:.2f}",
        )


def _roles(study: Study) -> Iterator[tuple[str, ...]]:
    for row in role_rows(study.roles.filter(text=CODE)):
        leading = (
            f"{head_name(head['layer'], head['head'])} {head['value']:.2f} ({head['expected']:.2f})"
            for head in row["heads"]
        )
        yield readable(row["role"]), f"{row['queries']:,}", str(row["clear"]), ", ".join(leading)


def _points(row: dict[str, Any]) -> str:
    return f"{points(row['value'])} {points_interval(row['low'], row['high'])}"


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
