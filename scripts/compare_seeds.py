"""Print, in Markdown, what attention adds in studies that differ in their seed alone.

python scripts/compare_seeds.py runs/java-fim-prediction-{0,1,2}
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError
from apmae.common.markdown import markdown_table
from apmae.figures.wording import readable
from apmae.prediction.features import CONFIDENCE, STRONG
from apmae.report.summaries import SIGNIFICANCE, metrics_table
from apmae.study import Study
from apmae.vocabulary import BLOCKS

HEADS = ("copy_attention", "row_statistics")
"""Blocks of heads whose gains are told task by task."""
PROTOCOL = "grouped_cross_validation"


def main(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished studies' directories.")],
) -> None:
    """Print AUROC and what blocks of heads add to it, for every task and seed."""
    studies = [Study.open(run) for run in runs]
    if len({study.config.seed for study in studies}) < len(studies):
        raise ApmaeError("the studies have the same seed: name studies of different seeds")
    memory = [_by_cell(study, "cross_validation") for study in studies]
    grouped = [_by_cell(study, PROTOCOL) for study in studies]
    tasks = [task for task in studies[0].config.prompts.tasks if task != "noise"]
    print(f"AUROC by seed ({', '.join(str(study.config.seed) for study in studies)}):\n")
    columns = (
        "file_memory",
        CONFIDENCE,
        "token_kind",
        "last_hidden_state",
        STRONG,
        *chain.from_iterable((block, f"{STRONG}+{block}") for block in HEADS),
    )
    areas = [
        (task, *(_values(memory if name == "file_memory" else grouped, task, name) for name in columns))
        for task in tasks
    ]
    print(markdown_table(("task", *columns), areas) + "\n")
    for block in HEADS:
        print(f"Added by {readable(block)} (95% interval; * significant, Holm-corrected over tasks):\n")
        gains = [
            (
                task,
                *_gains(grouped, task, f"{CONFIDENCE}+{block}", "auroc_difference"),
                *_gains(grouped, task, f"{STRONG}+{block}", "auroc_over_strong"),
            )
            for task in tasks
        ]
        print(markdown_table(("task", f"to {CONFIDENCE}", "mean", f"to {STRONG}", "mean"), gains) + "\n")
    print("Blocks alone and beside confidence, means over tasks by seed:\n")
    print(markdown_table(("block", "AUROC", "gain", "tasks gained", "tasks lost"), _blocks(grouped, tasks)))


Cells = dict[tuple[str, str], dict[str, Any]]


def _by_cell(study: Study, protocol: str) -> Cells:
    """Rows of the metrics table by task and feature set."""
    table = metrics_table(study.metrics, protocol)
    return {(row["task"], row["features"]): row for row in table.iter_rows(named=True)}


def _values(cells: Sequence[Cells], task: str, features: str) -> str:
    found = [of_seed.get((task, features), {}).get("auroc") for of_seed in cells]
    return " ".join("-" if value is None else f"{value:.2f}" for value in found)


def _blocks(cells: Sequence[Cells], tasks: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
    """Of every block measured beside confidence: AUROC, the gain, and in how many tasks it is significant."""
    rows = []
    for block in BLOCKS:
        together = f"{CONFIDENCE}+{block}"
        both = [[row for task in tasks if (row := of_seed.get((task, together)))] for of_seed in cells]
        alone = [
            [of_seed[task, block]["auroc"] for task in tasks if (task, block) in of_seed] for of_seed in cells
        ]
        if not all(both) or not all(alone):
            continue
        gained, lost = (
            " ".join(str(sum(_is_significant(row, sign) for row in of_seed)) for of_seed in both)
            for sign in (1, -1)
        )
        gains = " ".join(f"{fmean(row['auroc_difference'] for row in of_seed):+.3f}" for of_seed in both)
        rows.append((block, " ".join(f"{fmean(of_seed):.3f}" for of_seed in alone), gains, gained, lost))
    return rows


def _is_significant(row: dict[str, Any], sign: int) -> bool:
    p_value = row["auroc_difference_p_holm"]
    return p_value is not None and p_value < SIGNIFICANCE and row["auroc_difference"] * sign > 0


def _gains(cells: Sequence[Cells], task: str, features: str, column: str) -> tuple[str, str]:
    """The gain of every seed with its interval, and their mean."""
    rows = [row for of_seed in cells if (row := of_seed.get((task, features), {})).get(column) is not None]
    said = [
        f"{row[column]:+.3f} [{row[f'{column}_low']:+.3f}, {row[f'{column}_high']:+.3f}]"
        + ("*" if row[f"{column}_p_holm"] < SIGNIFICANCE else "")
        for row in rows
    ]
    mean = f"{fmean(row[column] for row in rows):+.3f}" if rows else "-"
    return "; ".join(said), mean


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
