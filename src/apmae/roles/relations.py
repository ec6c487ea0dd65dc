"""Which keys a role is about, for every query of a window, and the candidates that it chooses them from.

Shape suffixes: T tokens of a window, N tokens of a document.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apmae.prompts import Document
from apmae.prompts.spans import Range, find_parts
from apmae.token_study.windows import PlacedWindow

Mask = NDArray[np.bool_]

NONE = -1

NEAREST = 2
"""Least distance of a key in a role of syntax. The token before would make every previous-token head one that
looks along lists of arguments, and at the brackets of `()`."""

ROLES = {
    "first_token": "the first token, an attention sink",
    "self": "the query itself",
    "previous_token": "the token before",
    "duplicate_token": "earlier occurrences of the query's token",
    "induction": "the token that followed an earlier occurrence of the query's token",
    "opening_bracket": "from a closing bracket to the opening one",
    "earlier_use": "from a name to its earlier uses",
    "declaration": "from a name to its declaration",
    "function_name": "to the name of the enclosing function",
    "line_start": "to the first token of the line",
    "argument_list": "to earlier tokens of the same list of arguments",
    "suffix": "from the hole to the text right of it",
}
"""What a head of each role looks at."""

TOKEN_ROLES = ("first_token", "self", "previous_token", "duplicate_token", "induction")
"""Roles that need the token ids alone."""


class Relation(NamedTuple):
    """A role in a window.

    Attributes:
        keys: (T, T), for every query the keys that the role is about.
        candidates: (T, T), for every query the keys that they are chosen from, these among them.
    """

    role: str
    keys: Mask
    candidates: Mask


def token_relations(input_ids: NDArray[np.int32]) -> Iterator[Relation]:
    """The relations of `TOKEN_ROLES`; any visible key is a candidate."""
    length = len(input_ids)
    visible = np.tri(length, dtype=np.bool_)
    place = np.arange(length)
    same = input_ids[:, None] == input_ids[None]
    followed = np.zeros_like(same)
    followed[:, 1:] = same[:, :-1] & np.tri(length, k=-1, dtype=np.bool_)[:, :-1]
    first = np.zeros_like(same)
    first[1:, 0] = True
    keys = {
        "first_token": first,
        "self": np.eye(length, dtype=np.bool_),
        "previous_token": place[:, None] == place[None] + 1,
        "duplicate_token": same & np.tri(length, k=-1, dtype=np.bool_),
        "induction": followed & visible,
    }
    for role in TOKEN_ROLES:
        yield Relation(role, keys[role], visible)


@dataclass(frozen=True)
class Syntax:
    """How the tokens of a document relate, (N,) each; `NONE` where they do not.

    Attributes:
        opener: of a closing bracket, the token of the opening one.
        is_opener: tokens that hold an opening bracket.
        name: number of the name that starts in a token.
        declaration: of a name, the nearest earlier token that declares the same name.
        function_name: the name of the innermost enclosing function, which stands before the token.
        line_start: the first visible token of the line, of the other visible ones.
        is_line_start: those first ones.
        arguments: number of the innermost list of arguments.
    """

    opener: NDArray[np.int64]
    is_opener: Mask
    name: NDArray[np.int64]
    declaration: NDArray[np.int64]
    function_name: NDArray[np.int64]
    line_start: NDArray[np.int64]
    is_line_start: Mask
    arguments: NDArray[np.int64]

    @classmethod
    def of(cls, document: Document, language: str) -> Syntax:
        """Parse a document.

        Raises:
            ApmaeError: the language is unknown.
        """
        parts, count = find_parts(document.text, language), len(document.token_ids)

        def token_of(found: Range) -> int:
            return min(bisect_right(document.ends, found[0]), count - 1)

        def none() -> NDArray[np.int64]:
            return np.full(count, NONE)

        def inside(found: Range) -> slice:
            return slice(token_of(found), token_of((found[1] - 1, found[1])) + 1)

        opener, is_opener = none(), np.zeros(count, dtype=np.bool_)
        for opening, closing in parts.brackets:
            opener[token_of(closing)] = token_of(opening)
        is_opener[[token_of(opening) for opening, _ in parts.brackets]] = True
        name, declaration = none(), none()
        numbers: dict[str, int] = {}
        declared, last_declared = set(parts.declared), dict[str, int]()
        for found in parts.identifiers:
            text, token = document.text[slice(*found)], token_of(found)
            name[token] = numbers.setdefault(text, len(numbers))
            declaration[token] = last_declared.get(text, NONE)
            if found in declared:
                last_declared[text] = token
        function_name = none()
        for whole, named in parts.functions:
            function_name[token_of(named) + 1 : inside(whole).stop] = token_of(named)
        arguments = none()
        for number, found in enumerate(parts.arguments):
            arguments[inside(found)] = number
        line_start, is_line_start = _line_starts(document)
        return cls(opener, is_opener, name, declaration, function_name, line_start, is_line_start, arguments)


def window_relations(placed: PlacedWindow, syntax: Syntax | None) -> Iterator[Relation]:
    """Every relation of a window of code; without syntax those that need none.

    A role that no query of the window has is left out.
    """
    relations = [*token_relations(placed.window.input_ids), *_suffix_relations(placed)]
    if syntax is not None:
        relations += _syntax_relations(placed.places, syntax)
    for relation in relations:
        if relation.keys.any():
            yield relation


def _suffix_relations(placed: PlacedWindow) -> Iterator[Relation]:
    visible = np.tri(len(placed.places), dtype=np.bool_)
    yield Relation("suffix", placed.hole[:, None] & placed.suffix[None] & visible, visible)


def _syntax_relations(places: NDArray[np.int64], syntax: Syntax) -> Iterator[Relation]:
    length = len(places)
    there = places != NONE
    earlier = np.tri(length, k=-NEAREST, dtype=np.bool_) & there[:, None] & there[None]

    def of_tokens(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(there, values[places], NONE)

    def pointing(values: NDArray[np.int64]) -> Mask:
        pointed = of_tokens(values)
        found: Mask = (pointed[:, None] == places[None]) & (pointed != NONE)[:, None] & earlier
        return found

    def same(values: NDArray[np.int64]) -> Mask:
        own = of_tokens(values)
        found: Mask = (own[:, None] == own[None]) & (own != NONE)[:, None] & earlier
        return found

    def among(is_candidate: Mask) -> Mask:
        found: Mask = (there & is_candidate[places])[None] & earlier
        return found

    names = among(syntax.name != NONE)
    yield Relation("opening_bracket", pointing(syntax.opener), among(syntax.is_opener))
    yield Relation("earlier_use", same(syntax.name), names)
    yield Relation("declaration", pointing(syntax.declaration), names)
    yield Relation("function_name", pointing(syntax.function_name), names)
    yield Relation("line_start", pointing(syntax.line_start), among(syntax.is_line_start))
    yield Relation("argument_list", same(syntax.arguments), earlier)


def _line_starts(document: Document) -> tuple[NDArray[np.int64], Mask]:
    """See `Syntax`; a token belongs to the line of its first visible character."""
    count = len(document.token_ids)
    line_start, is_line_start = np.full(count, NONE), np.zeros(count, dtype=np.bool_)
    first_of: dict[int, int] = {}
    line, counted = 0, 0
    for token, (start, end) in enumerate(zip(document.starts, document.ends, strict=True)):
        text = document.text[start:end]
        if not text.strip():
            continue
        visible = start + len(text) - len(text.lstrip())
        line, counted = line + document.text.count("\n", counted, visible), visible
        if line in first_of:
            line_start[token] = first_of[line]
        else:
            first_of[line] = token
            is_line_start[token] = True
    return line_start, is_line_start
