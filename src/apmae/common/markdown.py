"""A Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table's lines; every row has a cell for each heading."""
    rows = list(rows)
    assert all(len(row) == len(heading) for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in (heading, *rows)]
    lines.insert(1, "|---" * len(heading) + "|")
    return "\n".join(lines)
