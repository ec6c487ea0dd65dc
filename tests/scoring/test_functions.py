"""Functions of a scored text, summed up."""

import pytest

from apmae.scoring.functions import FunctionScore, functions_of
from apmae.scoring.tokens import ScoredText, TokenScore

PIECES = ["class A {", "\n int ", "a() {", " return", " 1; }", "\n void b() {", " }", "\n}"]


def scored(probabilities):
    """Scores of the pieces that have a probability; a piece is predicted right from a half on."""
    fields = {"line": 1, "text": "", "written": 0.5, "predicted": "", "heads": ()}
    return ScoredText(
        PIECES,
        {
            number: TokenScore(
                number=number, probability=value, confidence=value, correct=value >= 0.5, **fields
            )
            for number, value in enumerate(probabilities)
            if value is not None
        },
    )


def test_a_function_has_the_tokens_that_start_in_it_and_the_least_sure_comes_first():
    found = functions_of("A.java", scored([None, 0.1, 0.9, 0.8, 0.7, 0.0, 0.4, 0.2]))
    # " int " starts before the method, and so does "\n void b() {"
    assert found == [
        FunctionScore("b", 3, 1, 0, 0.4, 0.4),
        FunctionScore("a", 2, 3, 3, pytest.approx(0.8), 0.7),
    ]


def test_functions_without_scores_and_files_without_a_parser_have_none():
    assert functions_of("A.java", scored([0.5] + [None] * 7)) == []
    assert functions_of("A.txt", scored([0.5] * 8)) == []
    assert functions_of("A", scored([0.5] * 8)) == []
