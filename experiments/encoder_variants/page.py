"""The tables as Markdown, and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from apmae.common.atomic import replacing
from apmae.common.errors import ApmaeError
from apmae.common.markdown import markdown_table
from apmae.study import Study
from experiments.encoder_variants.comparison import MEAN
from experiments.encoder_variants.prediction import BASELINES
from experiments.encoder_variants.variants import Variant

BEGIN, END = "<!-- made by `python -m experiments.encoder_variants`: begin -->", "<!-- end -->"

LABELS = {"encodings": "linear", "clusters": "clusters"}

INTERVALS = "Values and differences carry 95% intervals; **bold**: the interval excludes zero."


def fragment(
    variants: Sequence[Variant],
    studies: Sequence[Study],
    reconstruction: pl.DataFrame,
    comparison: pl.DataFrame,
) -> str:
    """All tables.

    Args:
        reconstruction: see `apmae.cross_evaluation.evaluate`; its encoders are the variants.
        comparison: `COMPARISON_SCHEMA`.
    """
    base = variants[0].name
    mean = comparison.filter(task=MEAN)
    auroc, accuracy = (mean.filter(metric=metric) for metric in ("auroc", "accuracy"))
    by_task = comparison.filter(pl.col("task") != MEAN, metric="auroc", difference_from="")
    parts = [
        "### Variants, and how well they reconstruct held-out patterns",
        _variants_table(variants, studies, reconstruction),
        "### AUROC, mean of the tasks",
        table_of(auroc.filter(difference_from="")),
        _baselines_table(by_task, auroc),
        f"### AUROC less that of `{base}`",
        INTERVALS,
        table_of(auroc.filter(difference_from=base), signed=True),
        "### AUROC less that of row statistics",
        table_of(auroc.filter(difference_from="row_statistics"), signed=True),
        "### AUROC less that of the readout `cls`",
        table_of(auroc.filter(difference_from="cls"), signed=True),
        "### Accuracy, mean of the tasks",
        table_of(accuracy.filter(difference_from="")),
        "### AUROC by task, linear model of `cls`",
        table_of(by_task.filter(features="cls_encodings"), columns="task"),
        "### AUROC by task, linear model of `row`",
        table_of(by_task.filter(features="row_encodings"), columns="task"),
    ]
    return "\n\n".join(parts) + "\n"


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the page's markers.

    Raises:
        ApmaeError: the page has no markers.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ApmaeError(f"{page}: no lines {BEGIN} and {END} to put the tables between")
    with replacing(page) as path:
        path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _variants_table(
    variants: Sequence[Variant], studies: Sequence[Study], reconstruction: pl.DataFrame
) -> str:
    errors = {row["encoder"]: row for row in reconstruction.iter_rows(named=True)}
    lines = []
    for variant, study in zip(variants, studies, strict=True):
        row = errors[variant.name]
        marker = study.marker("train")
        assert marker is not None
        errors_of = (f"{row['log_error_nats']:.3f}", f"{100 * row['mass_error']:.2f}")
        lines.append((f"`{variant.name}`", variant.about, *errors_of, f"{marker['seconds'] / 60:.1f}"))
    uniform = next(reconstruction.iter_rows(named=True))
    errors_of = (f"{uniform['uniform_log_error_nats']:.3f}", f"{100 * uniform['uniform_mass_error']:.2f}")
    lines.append(("", "*uniform attention*", *errors_of, ""))
    names = (
        "variant",
        "what is special",
        "error of log probability, nats",
        "misplaced attention, %",
        "train, min",
    )
    return markdown_table(names, lines)


def _baselines_table(by_task: pl.DataFrame, mean: pl.DataFrame) -> str:
    rows = pl.concat([by_task, mean.filter(difference_from="")]).filter(pl.col("features").is_in(BASELINES))
    return table_of(rows, index="features", columns="task")


def table_of(
    rows: pl.DataFrame, *, index: str = "variant", columns: str = "features", signed: bool = False
) -> str:
    """One row for each variant that has any of the columns; those of `signed` are differences."""
    if index == "variant":
        rows = rows.filter(pl.col("variant") != "")
    names = rows[columns].unique(maintain_order=True).to_list()
    cells = {(row[index], row[columns]): _cell(row, signed) for row in rows.iter_rows(named=True)}
    body = (
        [f"`{name}`", *(cells.get((name, column), "") for column in names)]
        for name in rows[index].unique(maintain_order=True)
    )
    return markdown_table([index, *map(_title, names)], body)


def _title(name: str) -> str:
    readout, _, kind = name.rpartition("_")
    return f"{readout}, {LABELS[kind]}" if kind in LABELS else name


def _cell(row: dict[str, float], signed: bool) -> str:
    sign = "+" if signed else ""
    text = f"{row['value']:{sign}.3f} [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"
    return f"**{text}**" if signed and row["low"] * row["high"] > 0 else text
