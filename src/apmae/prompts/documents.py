"""A tokenized text, where a hole lies in it, and what is made of the two."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from apmae.prompts.spans import Span

RANDOM_SPAN_TOKENS = (3, 10)
"""Shortest and longest hole of the task `random` (paper section 4, "Data")."""
DRAWS_PER_HOLE = 4
"""Draws of a `random` hole for each one that is wanted."""


class Prompt(NamedTuple):
    """Exactly `length_tokens` token ids, and the true ones of a correct completion; none for noise."""

    input_ids: tuple[int, ...]
    true_ids: tuple[int, ...]

    @property
    def next_token_id(self) -> int | None:
        """The token that comes next; None where there is none."""
        return self.true_ids[0] if self.true_ids else None


class Skip(StrEnum):
    """Why a hole makes no prompt."""

    STRADDLES_TOKEN = "straddles a token"
    TOO_FEW_TOKENS = "too few tokens"
    TOO_LONG = "too long"


@dataclass(frozen=True)
class Document:
    """A whole text and its tokens.

    `starts` and `ends` are the tokens' character positions; neither ever falls, and tokens that share
    the bytes of one character share its positions.
    """

    text: str
    token_ids: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]

    def before(self, position: int, encode: Callable[[str], list[int]]) -> list[int]:
        """The tokens left of a position; what a token has left of it is tokenized anew by `encode`."""
        count = bisect_right(self.ends, position)
        covered = self.ends[count - 1] if count else 0
        return [*self.token_ids[:count], *encode(self.text[covered:position])]

    def after(self, position: int, encode: Callable[[str], list[int]]) -> list[int]:
        """The tokens right of a position; what a token has right of it is tokenized anew by `encode`."""
        first = bisect_left(self.starts, position)
        covered = self.starts[first] if first < len(self.starts) else len(self.text)
        return [*encode(self.text[position:covered]), *self.token_ids[first:]]


def hole_token(document: Document, span: Span) -> int | None:
    """Index of the token that the hole starts with; None where the hole starts within a token.

    Only whitespace may stand in that token before the hole. An `eol` hole's token is the one that the
    line break starts in, after whatever whitespace precedes it.
    """
    index = bisect_right(document.ends, _first_character(document.text, span))
    if index == len(document.ends):
        return None
    before = document.text[document.starts[index] : span.start]
    return None if before.strip() else index


def tokens_of_hole(document: Document, span: Span, first: int) -> tuple[int, ...]:
    """The tokens from the one that a hole starts with, at index `first`, to the one that it ends in."""
    return tuple(document.token_ids[first : bisect_left(document.starts, span.end)])


def random_span(
    document: Document, generator: np.random.Generator, tokens: range | None = None
) -> Span | None:
    """A hole of the task `random`, 3 to 10 tokens long; None where no token can start one.

    Args:
        tokens: which tokens may start it; all of them by default.
    """
    shortest, longest = RANDOM_SPAN_TOKENS
    length = int(generator.integers(shortest, longest + 1))
    places = range(len(document.token_ids) - length + 1)
    if tokens is not None:
        places = range(tokens.start, min(tokens.stop, places.stop))
    if not places:
        return None
    first = int(generator.integers(places.start, places.stop))
    return Span("random", document.starts[first], document.ends[first + length - 1])


def random_spans(
    document: Document, wanted: int, generator: np.random.Generator, tokens: range | None = None
) -> Iterator[Span]:
    """Holes of the task `random`: several times as many as wanted, as some make no prompt."""
    draws = (random_span(document, generator, tokens) for _ in range(DRAWS_PER_HOLE * wanted))
    return (span for span in draws if span is not None)


def _first_character(text: str, span: Span) -> int:
    if span.task != "eol":
        return span.start
    return span.end - (2 if text.endswith("\r\n", span.start, span.end) else 1)
