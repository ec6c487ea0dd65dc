"""The sections of the report, in order.

A new one is a module here, with `section(data)`, and its template of the same name; it joins `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable

from apmae.report.data import ReportData
from apmae.report.section import Section
from apmae.report.sections import (
    answers,
    clusters,
    cross_evaluation,
    gallery,
    importance,
    interventions,
    prediction,
    provenance,
    reconstruction,
    target_accuracy,
)

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    answers.section,
    target_accuracy.section,
    prediction.section,
    clusters.section,
    gallery.section,
    reconstruction.section,
    cross_evaluation.section,
    importance.section,
    interventions.section,
    provenance.section,
)
"""Each makes its section of a study, or None where the study has nothing for it."""
