"""The syntax class of every token of a text, from the language's own parser."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apmae.languages import language_named
from apmae.prompts import Document, find_comments, find_spans

OTHER, WHITESPACE, COMMENT = "other", "whitespace", "comment"
SYNTAX_TASKS = (
    "identifiers",
    "string_literals",
    "boolean_literals",
    "numeric_literals",
    "boolean_operators",
    "mathematical_operators",
    "assignment_operators",
    "closing_bracket",
    "keywords",
    "eol",
)
"""Tasks whose holes do not overlap, so that each is a class of its own."""

SYNTAX_CLASSES = (OTHER, WHITESPACE, COMMENT, *SYNTAX_TASKS)
"""Classes by number. `other` are names of types and the rest of the punctuation."""


class TokenClasses(NamedTuple):
    """Classes of a text's tokens, both (tokens,).

    Attributes:
        syntax: int8, numbers of `SYNTAX_CLASSES`.
        is_first: whether the token starts its identifier, literal, operator or comment; True for `other` and
            `whitespace`.
    """

    syntax: NDArray[np.int8]
    is_first: NDArray[np.bool_]


def classify(document: Document, language: str | None) -> TokenClasses:
    """The class of every token: that of its first character that is no white space.

    A token of white space alone is of the class `eol` if it holds the end of a line of code.

    Args:
        language: None for a text without a parser, whose tokens are `other` and `whitespace`.
    """
    text = document.text
    of_character = np.zeros(len(text) + 1, dtype=np.int8)
    starts_here = np.zeros(len(text) + 1, dtype=np.bool_)
    if language is not None:
        tasks = [task for task in SYNTAX_TASKS if task in language_named(language).span_tasks]
        spans = find_spans(text, language, tasks)
        for span in [*(span for task in tasks for span in spans[task]), *find_comments(text, language)]:
            of_character[span.start : span.end] = SYNTAX_CLASSES.index(span.task)
            starts_here[span.start] = True
    first = [_first_visible(text, *place) for place in zip(document.starts, document.ends, strict=True)]
    visible = np.array([place is not None for place in first], dtype=np.bool_)
    places = np.array([len(text) if place is None else place for place in first], dtype=np.int64)
    syntax = np.where(visible, of_character[places], SYNTAX_CLASSES.index(WHITESPACE))
    is_eol = of_character == SYNTAX_CLASSES.index("eol")
    holds_eol = [
        bool(is_eol[start:end].any()) for start, end in zip(document.starts, document.ends, strict=True)
    ]
    syntax = np.where(~visible & np.array(holds_eol, dtype=np.bool_), SYNTAX_CLASSES.index("eol"), syntax)
    inside = np.isin(syntax, [SYNTAX_CLASSES.index(name) for name in (OTHER, WHITESPACE, "eol")], invert=True)
    return TokenClasses(syntax.astype(np.int8), ~inside | starts_here[places])


def _first_visible(text: str, start: int, end: int) -> int | None:
    """Position of the first character that is no white space; None where there is none."""
    return next((place for place in range(start, end) if not text[place].isspace()), None)
