"""The table as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from apmae.common.markdown import markdown_table
from apmae.token_study.columns import COPIES
from apmae.token_study.measurement import ALL
from experiments.token_transfer.cells import FEATURE_SETS, REFERENCES
from experiments.token_transfer.sources import Reading


def fragment(names: Sequence[str], measured: Mapping[Reading, pl.DataFrame]) -> str:
    """A row for each reading: AUROC by feature set, and what copies add.

    Args:
        names: of the runs.
        measured: `TOKEN_METRICS` of each reading.
    """
    gains = (f"copies add to {features}" for features in REFERENCES)
    heading = ("fitted on", "read on", "tokens", *FEATURE_SETS, *gains)
    rows = [
        (*_named(names, reading), *_values(table.filter(syntax=ALL, metric="auroc")))
        for reading, table in measured.items()
    ]
    return markdown_table(heading, rows) + "\n"


def _named(names: Sequence[str], reading: Reading) -> tuple[str, str]:
    source = names[reading.source.run]
    if reading.source.without:
        source += f" without {reading.source.without}"
    return source, f"{names[reading.run]} {reading.syntax}".strip()


def _values(areas: pl.DataFrame) -> tuple[str, ...]:
    of_sets = [areas.filter(features=features, difference_from="") for features in FEATURE_SETS]
    gains = [
        areas.filter(features=f"{features}+{COPIES}", difference_from=features).select("value", "low", "high")
        for features in REFERENCES
    ]
    return (
        f"{areas['tokens'][0]:,}",
        *(f"{area['value'].item():.3f}" for area in of_sets),
        *("{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain.row(0)) for gain in gains),
    )
