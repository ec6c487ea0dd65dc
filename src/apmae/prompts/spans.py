"""Holes in source code: where each task's prompts can be made (paper section 5.1, "Tasks").

1. Parse a file once with tree-sitter.
2. Run the language's query, `languages/<language>.scm`: its captures are the tasks' holes.
3. `eol` needs no capture: its holes are the line breaks that follow code.
4. Drop what lies in a comment or a syntax error, and what lies deeper than `DEEPEST`.

tree-sitter counts bytes of UTF-8; every position that leaves this module counts characters.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from tree_sitter import Parser, Query, QueryCursor

from apmae.common.errors import ApmaeError
from apmae.languages import language_named

DEEPEST = 256
"""Levels of the syntax tree in which holes are found. tree-sitter's time grows with nodes times depth:
without this, a sum of 4,000 strings takes half a minute. Of the JDK's files one in thousands is deeper."""

Range = tuple[int, int]
"""The characters from the first number to the second (exclusive)."""

CLOSED_BY = {"(": ")", "[": "]", "{": "}"}

LINE_END = re.compile(r"(?<=[^\s\\])[ \t\f]*\r?\n")


class Span(NamedTuple):
    """A hole: the characters `start` to `end` (exclusive) of a source text."""

    task: str
    start: int
    end: int


class Function(NamedTuple):
    """A function, method or constructor: the characters `start` to `end` (exclusive) of a source text.

    Attributes:
        name: as the source has it; empty where the language's query has no name for it.
    """

    name: str
    start: int
    end: int


class SyntaxParts(NamedTuple):
    """Parts of a source text that its tokens relate to each other by; ranges of characters, in its order.

    Attributes:
        brackets: an opening bracket and the closing one that belongs to it.
        identifiers: names.
        declared: names where they are declared.
        arguments: lists of arguments, brackets included.
        functions: a function and its name; an outer one before those that it holds.
    """

    brackets: list[tuple[Range, Range]]
    identifiers: list[Range]
    declared: list[Range]
    arguments: list[Range]
    functions: list[tuple[Range, Range]]


class _Query(NamedTuple):
    parser: Parser
    query: Query
    contents: dict[int, re.Pattern[str]]  # by index of the query's pattern


class _Ranges:
    """Membership of positions in sorted ranges, disjoint or nested."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        for start, end in ranges:
            if not self.ends or end > self.ends[-1]:
                self.starts.append(start)
                self.ends.append(end)

    def __contains__(self, position: int) -> bool:
        index = bisect_right(self.starts, position) - 1
        return index >= 0 and position < self.ends[index]


def span_tasks(language: str) -> tuple[str, ...]:
    """The tasks whose holes `find_spans` finds in a language, in alphabetical order.

    Raises:
        ApmaeError: the language is unknown.
    """
    return language_named(language).span_tasks


def find_spans(source: str, language: str, tasks: Sequence[str]) -> dict[str, list[Span]]:
    """Find the holes of the given tasks, each task's in the order of the text.

    An `eol` hole reaches from the end of a line's code to and including its line break. A line has
    none where it is blank, ends in a comment or a backslash, goes on in a string or has no line break.
    A file with syntax errors keeps the holes outside of them.

    Args:
        source: a whole file.
        tasks: names from `span_tasks(language)`.

    Raises:
        ApmaeError: the language is unknown, or has no such task.
    """
    known = span_tasks(language)
    if unknown := sorted(set(tasks) - set(known)):
        raise ApmaeError(f"{language} has no task {', '.join(unknown)}; there are: {', '.join(known)}")
    found = _captures(source, _query(language))
    excluded = _Ranges(sorted(found["_comment"] + found["_excluded"], key=_outer_first))
    if "eol" in tasks:
        found["eol"] = _line_ends(source, _Ranges(found["_text"]), excluded)
    return {task: [Span(task, *hole) for hole in found[task] if hole[0] not in excluded] for task in tasks}


def parses(source: str, language: str) -> bool:
    """Whether a source text has no syntax error.

    Raises:
        ApmaeError: the language is unknown.
    """
    return not _query(language).parser.parse(source.encode()).root_node.has_error


def find_comments(source: str, language: str) -> list[Span]:
    """The comments of a source text, in its order; their task is `comment`.

    Raises:
        ApmaeError: the language is unknown.
    """
    return [Span("comment", *found) for found in _captures(source, _query(language))["_comment"]]


def find_functions(source: str, language: str) -> list[Function]:
    """The functions of a source text in its order, an outer one before those that it holds.

    Raises:
        ApmaeError: the language is unknown.
    """
    found = _captures(source, _query(language))
    names = [_name_in(whole, found["function_name"]) for whole in found["_function"]]
    return [
        Function(source[slice(*name)] if name else "", *whole)
        for whole, name in zip(found["_function"], names, strict=True)
    ]


def find_parts(source: str, language: str) -> SyntaxParts:
    """What the tokens of a source text relate to each other by; none of it in comments.

    Raises:
        ApmaeError: the language is unknown.
    """
    found = _captures(source, _query(language))
    comments = _Ranges(sorted(found["_comment"], key=_outer_first))
    identifiers = [name for name in found["identifiers"] if name[0] not in comments]
    names = set(identifiers)
    functions = [
        (whole, name) for whole in found["_function"] if (name := _name_in(whole, found["function_name"]))
    ]
    return SyntaxParts(
        brackets=_pairs(source, found["_opening_bracket"], found["closing_bracket"]),
        identifiers=identifiers,
        declared=[name for name in found["_declared"] if name in names],
        arguments=found["_arguments"],
        functions=functions,
    )


def _name_in(function: Range, names: list[Range]) -> Range | None:
    """The first of the sorted names that lies in a function."""
    place = bisect_left(names, (function[0], 0))
    return names[place] if place < len(names) and names[place][1] <= function[1] else None


def _pairs(source: str, opening: list[Range], closing: list[Range]) -> list[tuple[Range, Range]]:
    """Brackets that belong together; what nothing closes, and what closes nothing, is left out."""
    pairs, open_ones = [], []
    lacking = Counter[str]()
    of_closing = set(closing)
    for bracket in sorted({*opening, *closing}):
        if bracket not in of_closing:
            open_ones.append(bracket)
            lacking[CLOSED_BY[source[bracket[1] - 1]]] += 1
            continue
        closed = not lacking[source[bracket[0]]]
        while not closed:
            opened = open_ones.pop()
            closed_by = CLOSED_BY[source[opened[1] - 1]]
            lacking[closed_by] -= 1
            if closed := closed_by == source[bracket[0]]:
                pairs.append((opened, bracket))
    return sorted(pairs)


def _captures(source: str, query: _Query) -> dict[str, list[tuple[int, int]]]:
    """Ranges of the query's captures by name, sorted, the longer first where two start together."""
    encoded = source.encode()
    characters = _characters_before(encoded)
    found = defaultdict(set)
    root = query.parser.parse(encoded).root_node
    cursor = QueryCursor(query.query)
    cursor.set_max_start_depth(DEEPEST)
    for pattern, captured in cursor.matches(root):
        content = query.contents.get(pattern)
        for name, nodes in captured.items():
            for node in nodes:
                start, end = characters[node.start_byte], characters[node.end_byte]
                if content:
                    match = content.fullmatch(source, start, end)
                    start, end = match.span(1) if match else (end, end)
                if start < end:  # tokens missing from the source and empty literals have no text
                    found[name].add((start, end))
    return defaultdict(list, {name: sorted(ranges, key=_outer_first) for name, ranges in found.items()})


def _outer_first(hole: tuple[int, int]) -> tuple[int, int]:
    return hole[0], -hole[1]


def _line_ends(source: str, texts: _Ranges, excluded: _Ranges) -> list[tuple[int, int]]:
    holes = (match.span() for match in LINE_END.finditer(source))
    return [(start, end) for start, end in holes if start - 1 not in excluded and end - 1 not in texts]


def _characters_before(encoded: bytes) -> Sequence[int]:
    """For each byte position, the number of characters that start before it."""
    if encoded.isascii():
        return range(len(encoded) + 1)
    starts = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
    characters: list[int] = np.cumsum(starts).tolist()
    return [0, *characters]


@lru_cache
def _query(name: str) -> _Query:
    language = language_named(name)
    contents = {
        pattern: re.compile(str(settings["content"]), re.DOTALL)
        for pattern in range(language.query.pattern_count)
        if (settings := language.query.pattern_settings(pattern))
    }
    return _Query(Parser(language.grammar), language.query, contents)
