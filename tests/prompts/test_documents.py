import numpy as np
import pytest

from apmae.prompts.documents import Document, hole_token, random_span
from apmae.prompts.spans import Span


def document_of(*tokens):
    """A document with the given token texts, numbered from 0."""
    ends = np.cumsum([len(token) for token in tokens]).tolist()
    return Document("".join(tokens), range(len(tokens)), [0, *ends[:-1]], ends)


@pytest.mark.parametrize(
    ("tokens", "span", "expected"),
    [
        (["int", " foo", ";"], Span("identifiers", 4, 7), 1),  # whitespace in front is part of the token
        (["int", " ", "foo", ";"], Span("identifiers", 4, 7), 2),
        (["int fo", "o", ";"], Span("identifiers", 4, 7), None),
        (["a", "()", ";"], Span("closing_bracket", 2, 3), None),
        (["a", "\n\t", "b"], Span("identifiers", 3, 4), 2),
        ([";", "\n  ", "x"], Span("eol", 1, 2), 1),
        ([";\n", "  ", "x"], Span("eol", 1, 2), None),
        ([";", "  ", "\n", "x"], Span("eol", 1, 4), 2),  # the line break, not the space before it
        ([";", "  \n", "x"], Span("eol", 1, 4), 1),
        ([";", "\r\n", "x"], Span("eol", 1, 3), 1),
        ([";", "\r", "\n", "x"], Span("eol", 1, 3), 1),
        ([";", " ", "\r", "\n"], Span("eol", 1, 4), 2),
        (["a", "b"], Span("random", 2, 3), None),  # beyond the last token
    ],
)
def test_hole_token(tokens, span, expected):
    assert hole_token(document_of(*tokens), span) == expected


def test_hole_token_of_a_character_cut_into_bytes_is_its_first_byte():
    document = Document("a😀", [0, 1, 2, 3, 4], [0, 1, 1, 1, 1], [1, 2, 2, 2, 2])
    assert hole_token(document, Span("identifiers", 1, 2)) == 1


def test_random_spans_have_three_to_ten_tokens_anywhere():
    document = document_of(*"abcdefghijkl")
    generator = np.random.default_rng(0)
    spans = [random_span(document, generator) for _ in range(500)]
    assert {span.end - span.start for span in spans} == set(range(3, 11))
    assert {span.start for span in spans} == set(range(10))
    assert {span.task for span in spans} == {"random"}
    assert max(span.end for span in spans) == 12


def test_random_spans_are_seeded_and_need_three_tokens():
    document = document_of(*"abcdefghijkl")
    drawn = [random_span(document, np.random.default_rng(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    short = [random_span(document_of("a", "b"), np.random.default_rng(seed)) for seed in range(100)]
    assert short == [None] * 100


def letters(text):
    return [ord(character) for character in text]


@pytest.mark.parametrize(
    ("position", "before", "after"),
    [
        (0, [], [1, 2, 3]),
        (1, [1], [2, 3]),
        (2, [1, ord("b")], [*letters("cd"), 3]),  # the token across the position is cut there
        (5, [1, 2, 3], []),
    ],
)
def test_what_is_before_and_after_a_position(position, before, after):
    document = Document("abcde", [1, 2, 3], [0, 1, 4], [1, 4, 5])  # a bcd e
    assert document.before(position, letters) == before
    assert document.after(position, letters) == after
