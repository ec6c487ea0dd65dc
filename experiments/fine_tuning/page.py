"""The tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from apmae.common.markdown import markdown_table
from apmae.token_study.measurement import ALL
from experiments.fine_tuning.cells import CONFIDENCE, FROM_SCRATCH, FROZEN, WAYS

REFERENCES = (FROM_SCRATCH, FROZEN, "row_statistics", CONFIDENCE)
"""What the other ways are compared with."""


def fragment(measured: pl.DataFrame, labels: Sequence[int]) -> str:
    """AUROC over all held-out prompts for each way and number of labels, then differences.

    Args:
        measured: `TOKEN_METRICS` of prompts.
    """
    areas = measured.filter(syntax=ALL, metric="auroc")
    by_labels = [(way, *(_value(areas, way, count) for count in labels)) for way in WAYS]
    parts = [
        "AUROC over all held-out prompts, by number of labels:",
        markdown_table(("read from", *map(_name, labels)), by_labels),
    ]
    for count in labels:
        differences = [
            (way, *(_difference(areas, way, count, reference) for reference in REFERENCES)) for way in WAYS
        ]
        heading = ("read from", *(f"less {reference}" for reference in REFERENCES))
        parts += [f"Differences with {_name(count)} labels:", markdown_table(heading, differences)]
    return "\n\n".join(parts) + "\n"


def _name(labels: int) -> str:
    return f"{labels:,}" if labels else "all"


def _value(areas: pl.DataFrame, way: str, labels: int) -> str:
    row = areas.filter(features=way, labels=labels, difference_from="").row(0, named=True)
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _difference(areas: pl.DataFrame, way: str, labels: int, reference: str) -> str:
    if way == reference:
        return "-"
    row = areas.filter(features=way, labels=labels, difference_from=reference).row(0, named=True)
    return f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
