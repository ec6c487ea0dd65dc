"""The sections of the report, in order.

A new section is a module here with `section(data)`, a template of the same name, and an entry in `SECTIONS`.
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
    heads,
    importance,
    interventions,
    paper,
    prediction,
    provenance,
    reconstruction,
    roles,
    target_accuracy,
    tokens,
)

SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    answers.section,
    heads.section,
    roles.section,
    target_accuracy.section,
    prediction.section,
    tokens.section,
    clusters.section,
    gallery.section,
    reconstruction.section,
    cross_evaluation.section,
    importance.section,
    interventions.section,
    paper.section,
    provenance.section,
)
"""Each function returns its section of a study, or None if the study has no data for it."""
