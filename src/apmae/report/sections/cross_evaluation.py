"""Encoders on the patterns of other targets (paper table 2), if the study has an evaluation."""

from __future__ import annotations

import polars as pl

from apmae.report import cross_evaluation
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section
from apmae.study.artifacts import EVALUATION


def section(data: ReportData) -> Section | None:
    """The evaluation in the study's directory; None without one."""
    table = data.study.read_if_there(EVALUATION)
    return None if table is None else Section("cross_evaluation", "Other targets", (_figure(table),))


def _figure(table: pl.DataFrame) -> Drawing:
    unknown = (
        "" if table["held_out"].all() else " †: nothing says that the prompts are held out from its training."
    )
    return Drawing(
        "evaluation",
        lambda: cross_evaluation.figure(table),
        alt="Matrices of reconstruction errors: encoders down, target models across.",
        caption="Every encoder on masked patterns of every target, the same for all encoders: mean "
        "(standard deviation) over patterns of every head on held-out prompts; lower is better. Left: the "
        "encoder's own loss, to be compared between encoders of one scaling only. Middle and right: errors "
        "of log probability, and of probability summed per query, at the masked positions; they mean the "
        "same for every encoder, and uniform attention is what a prediction that knows nothing gets. "
        f"Bold: the target of the encoder's own study.{unknown} {'; '.join(cross_evaluation.counts(table))}. "
        "Paper table 2.",
        legible_pixels=760,
    )
