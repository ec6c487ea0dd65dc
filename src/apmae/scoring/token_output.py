"""Scored texts for the terminal, as JSON, and as SARIF for editors and code review."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.text import Text

from apmae.figures.labels import label
from apmae.scoring.functions import functions_of
from apmae.scoring.tokens import ScoredText, TokenScore, TokenScorer

UNSURE = 0.5
"""A line whose least probability is below it is a result in SARIF."""
LEAST_SURE = 5
"""Functions that the terminal names."""
STYLES = ((0.9, ""), (0.7, "yellow"), (0.4, "dark_orange"), (0.0, "bold red"))
"""How a token of at least some probability is written in a terminal."""


def terminal_text(path: Path, scored: ScoredText) -> Text:
    """A text with line numbers, its tokens coloured by probability; a summary, the least sure functions."""
    numbers = Text()
    last = max((score.line for score in scored.scores.values()), default=1)
    width = len(str(last))
    body = Text(f"{path}\n\n", "bold")
    numbers.append(f"{1:>{width}}  ", "dim")
    body.append_text(numbers)
    line = 1
    for number, piece in enumerate(scored.pieces):
        score = scored.scores.get(number)
        for part in parts_by_line(piece):
            body.append(_harmless(part), _style(score))
            if part.endswith("\n"):
                line += 1
                body.append(f"{line:>{width}}  ", "dim")
    body.append("\n\n" + summary(scored) + "\n")
    for function in functions_of(path.name, scored)[:LEAST_SURE]:
        body.append(
            f"  {function.probability:4.0%}  {_harmless(function.name) or '-'}, line {function.line}: "
            f"{function.correct} of {function.tokens} predicted right\n"
        )
    for bound, style in STYLES[1:]:
        above = next(high for high, _ in reversed(STYLES) if high > bound)
        body.append(f"  {bound:.0%} to {above:.0%}", style)
    body.append(
        "  probability that the target's most probable token is right; underlined: it is not\n", "dim"
    )
    return body


def summary(scored: ScoredText) -> str:
    """`812 tokens, 633 predicted right, 641.2 expected`."""
    scores = scored.scores.values()
    right, expected = sum(score.correct for score in scores), sum(score.probability for score in scores)
    return f"{len(scores):,} tokens, {right:,} predicted right, {expected:,.1f} expected"


def tokens_as_json(scorer: TokenScorer, files: Iterable[tuple[Path, ScoredText]]) -> str:
    """One JSON document of all files; numbers are not rounded."""
    document = {
        "study": scorer.study.config.name,
        "target": scorer.target.name,
        "files": [
            {
                "file": str(path),
                "functions": [function._asdict() for function in functions_of(path.name, scored)],
                "tokens": [_record(score) for score in scored.scores.values()],
            }
            for path, scored in files
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_sarif(files: Iterable[tuple[Path, ScoredText]]) -> str:
    """SARIF 2.1.0: a note for every line in which the target is unsure of a token.

    Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
    """
    rule = {
        "id": "unsure",
        "shortDescription": {"text": "The model is unlikely to write a token of this line."},
        "defaultConfiguration": {"level": "note"},
    }
    results = [
        _result(path, least, scores)
        for path, scored in files
        for scores in by_line(scored).values()
        if (least := min(scores, key=lambda score: score.probability)).probability < UNSURE
    ]
    driver = {
        "name": "apmae",
        "version": version("apmae"),
        "informationUri": "https://arxiv.org/abs/2604.03764",
        "rules": [rule],
    }
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def by_line(scored: ScoredText) -> Mapping[int, list[TokenScore]]:
    """The scores of every line that has some, in order."""
    lines: dict[int, list[TokenScore]] = {}
    for number in sorted(scored.scores):
        score = scored.scores[number]
        lines.setdefault(score.line, []).append(score)
    return lines


def parts_by_line(text: str) -> list[str]:
    """A text cut behind its line feeds, which alone end a line here as in the languages' parsers."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _harmless(text: str) -> str:
    """A text as a terminal may show it: codes for what could steer it, blanks for tabs."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else f"\\x{ord(sign):02x}"
        for sign in text.replace("\r", "").replace("\t", "    ")
    )


def _result(path: Path, least: TokenScore, scores: list[TokenScore]) -> dict[str, Any]:
    mean = fmean(score.probability for score in scores)
    message = (
        f"{least.probability:.0%} that the model writes the right token in the place of "
        f"{label(least.text)} (it would write {label(least.predicted)}); mean of the line {mean:.0%}"
    )
    return {
        "ruleId": "unsure",
        "level": "note",
        "message": {"text": message},
        "rank": round(100 * (1 - least.probability), 1),
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": path.as_posix()},
                    "region": {"startLine": least.line},
                }
            }
        ],
    }


def _record(score: TokenScore) -> dict[str, Any]:
    return {**score._asdict(), "heads": [head._asdict() for head in score.heads]}


def _style(score: TokenScore | None) -> str:
    if score is None:
        return "dim"
    style = next(style for bound, style in STYLES if score.probability >= bound)
    return style if score.correct else f"{style} underline".strip()
