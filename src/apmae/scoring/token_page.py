"""A scored file as one page without a network: every token coloured by how sure the target can be of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from markupsafe import Markup

from apmae.common.atomic import replacing
from apmae.figures.labels import label
from apmae.figures.templates import page_style, page_templates, source_hash
from apmae.scoring.functions import functions_of
from apmae.scoring.output import heads_text
from apmae.scoring.token_output import by_line, parts_by_line
from apmae.scoring.tokens import ScoredText, TokenScore, TokenScorer

HERE = Path(__file__).parent
LEVELS = 10
"""Colours, in even steps of the probability."""
LEAST_SURE = 10
"""Lines in the table of the least sure ones."""


class Piece(NamedTuple):
    """A token, or a part of it that stands on one line.

    Attributes:
        text: with signs for what cannot be seen at the end of a line.
        level: of its colour, 0 to 9; None without a score.
        wrong: whether the target would have written another token.
        hint: what is shown where one points at it.
    """

    text: str
    level: int | None
    wrong: bool
    hint: str


class Line(NamedTuple):
    """A line of the file; `least` and `mean` are None where no token of it has a score."""

    number: int
    pieces: list[Piece]
    least: TokenScore | None
    mean: float | None


def write_token_page(scorer: TokenScorer, path: Path, scored: ScoredText, page: Path) -> Path:
    """Write the page of a file; returns its path."""
    with replacing(page) as temporary:
        temporary.write_text(render(scorer, path, scored), encoding="utf-8")
    return page


def render(scorer: TokenScorer, path: Path, scored: ScoredText) -> str:
    """The page as HTML."""
    lines = lines_of(scored)
    sheet = page_style(HERE / "token_page.css")
    scores = scored.scores.values()
    content: Mapping[str, Any] = {
        "path": path,
        "target": scorer.target.name,
        "weights": scorer.target.weights.summary if scorer.target.weights else "",
        "study": scorer.study.config.name,
        "area": scorer.held_out_auroc,
        "lines": lines,
        "levels": range(LEVELS),
        "tokens": len(scored.scores),
        "right": sum(score.correct for score in scores),
        "expected": sum(score.probability for score in scores),
        "least_sure": sorted(
            (line for line in lines if line.least is not None),
            key=lambda line: line.least.probability if line.least else 1.0,
        )[:LEAST_SURE],
        "functions": functions_of(path.name, scored),
        "style": Markup(sheet),
        "style_hash": source_hash(sheet),
    }
    templates = page_templates(HERE)
    templates.filters |= {"label": label}
    return templates.get_template("token_page.html").render(**content)


def lines_of(scored: ScoredText) -> list[Line]:
    """The text's lines; a token over a line's end is cut there, and what follows the last end is no line."""
    pieces: list[list[Piece]] = [[]]
    for number, text in enumerate(scored.pieces):
        score = scored.scores.get(number)
        for part in parts_by_line(text):
            pieces[-1].append(_piece(part, score))
            if part.endswith("\n"):
                pieces.append([])
    if not pieces[-1]:
        pieces.pop()
    scores = by_line(scored)
    lines = []
    for number, found in enumerate(pieces, start=1):
        of_line = scores.get(number, [])
        least = min(of_line, key=lambda score: score.probability, default=None)
        mean = fmean(score.probability for score in of_line) if of_line else None
        lines.append(Line(number, found, least, mean))
    return lines


def _piece(text: str, score: TokenScore | None) -> Piece:
    shown = text.rstrip("\r\n")
    if score is None:
        return Piece(shown, None, False, "")
    if shown != text and not score.correct:
        shown += "↵"
    hint = (
        f"{score.probability:.0%} that its most probable token is right "
        f"({score.confidence:.0%} by confidence alone)\n"
        f"it would write {label(score.predicted)}; it gives {label(score.text)} {score.written:.1%}\n"
        f"heads: {heads_text(score.heads)}"
    )
    return Piece(shown, min(LEVELS - 1, int(score.probability * LEVELS)), not score.correct, hint)
