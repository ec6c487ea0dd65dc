"""Where to look: `FILE:LINE[:COLUMN]`, and the hole that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from apmae.common.errors import ApmaeError
from apmae.corpus.files import read_source
from apmae.prompts import Span

PLACE = re.compile(r"(.+?):(\d+)(?::(\d+))?", re.DOTALL)
MARGIN = " \t\f\r"
"""What may stand around the code of a line."""


@dataclass(frozen=True)
class Hole:
    """A hole in a file: from a line's first non-blank character, or a column, to the line's end.

    Attributes:
        path: the file, as the user named it.
        line, column: where the hole starts, from 1; columns count characters.
        source: the whole file.
        span: the hole's characters.
    """

    path: Path
    line: int
    column: int
    source: str
    span: Span

    @property
    def text(self) -> str:
        """What stands in the hole."""
        return self.source[self.span.start : self.span.end]

    @property
    def line_start(self) -> int:
        """Position of the line's first character."""
        return self.span.start - self.column + 1


def read_hole(place: str) -> Hole:
    """Read the file that `FILE:LINE[:COLUMN]` names and find the hole.

    Raises:
        ApmaeError: no such file, line or column, not a text file, or nothing stands there.
    """
    match = PLACE.fullmatch(place)
    if match is None:
        raise ApmaeError(f"{place}: name a place as FILE:LINE or FILE:LINE:COLUMN, both from 1")
    path, line = Path(match[1]).expanduser(), int(match[2])
    source = read_source(path)
    lines = source.split("\n")
    if lines[-1] == "":
        lines.pop()
    if not 1 <= line <= len(lines):
        raise ApmaeError(f"{path} has no line {line}: its lines are 1 to {len(lines)}")
    text = lines[line - 1].rstrip(MARGIN)
    if not text:
        raise ApmaeError(f"{path}:{line} is blank: name a line with code on it")
    column = int(match[3]) if match[3] else len(text) - len(text.lstrip(MARGIN)) + 1
    if not 1 <= column <= len(text):
        raise ApmaeError(f"{path}:{line} has no column {column}: its columns are 1 to {len(text)}")
    start = sum(len(before) + 1 for before in lines[: line - 1])
    return Hole(path, line, column, source, Span("line", start + column - 1, start + len(text)))
