"""Scored holes as a table for the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from apmae.figures.labels import label, written
from apmae.figures.wording import head_name
from apmae.scoring.files import HoleScore
from apmae.scoring.scorer import HeadContribution, Scorer

LONGEST_HOLE = 16
LEAST_SHOWN = 0.005
"""Log-odds of which two digits show something."""
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("place", "right"),
    ("task", "left"),
    ("hole", "left"),
    ("completion", "left"),
    ("is", "left"),
    ("P(correct)", "right"),
)


def table(path: Path, holes: list[HoleScore]) -> Table:
    """One file's holes, a line each, and how many were right of how many were expected."""
    right = sum(hole.correct for hole in holes)
    expected = sum(hole.score.probability for hole in holes)
    made = Table(
        title=escape(str(path)),
        caption=f"{right} of {len(holes)} correct, {expected:.1f} expected",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    for name, justify in COLUMNS:
        made.add_column(name, justify=justify, no_wrap=True)
    made.add_column("heads that moved it most")
    for scored in holes:
        hole, score = scored.hole, scored.score
        made.add_row(
            f"{hole.line}:{hole.column}",
            hole.task,
            Text(_cut(written(hole.text))),
            Text(label(scored.completion)),
            Text("correct", "green") if scored.correct else Text("incorrect", "red"),
            f"{score.probability:.0%}",
            heads_text(score.heads),
        )
    return made


def heads_text(heads: Iterable[HeadContribution]) -> str:
    """Heads and what they add to the log-odds, without heads that add 0.00: `L5H3 +0.42, L0H1 -0.20`."""
    moving = [head for head in heads if abs(head.log_odds) >= LEAST_SHOWN]
    return ", ".join(f"{head_name(head.layer, head.head)} {head.log_odds:+.2f}" for head in moving) or "none"


def as_json(scorer: Scorer, files: Iterable[tuple[Path, list[HoleScore]]]) -> str:
    """One JSON document of all files; numbers are not rounded."""
    document = {
        "study": scorer.study.config.name,
        "target": scorer.target.name,
        "files": [{"file": str(path), "holes": [_record(hole) for hole in holes]} for path, holes in files],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _record(scored: HoleScore) -> dict[str, Any]:
    hole, score = scored.hole, scored.score
    return {
        "line": hole.line,
        "column": hole.column,
        "task": hole.task,
        "hole": hole.text,
        "completion": scored.completion,
        "correct": scored.correct,
        "probability": score.probability,
        "confidence": score.confidence,
        "max_probability": score.max_probability,
        "heads": [head._asdict() for head in score.heads],
    }


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_HOLE else text[: LONGEST_HOLE - 1] + "…"
