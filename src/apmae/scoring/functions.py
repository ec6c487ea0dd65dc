"""The functions of a scored text, summed up."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from statistics import fmean
from typing import NamedTuple

from apmae.languages import language_of
from apmae.prompts import find_functions
from apmae.scoring.tokens import ScoredText


class FunctionScore(NamedTuple):
    """A function and its tokens' scores, those of functions within it too.

    Attributes:
        name: empty where the parser sees none.
        line: that it starts on, from 1.
        tokens: that have a score.
        correct: of these, how many the target would have written.
        probability: mean over its tokens.
        least: the smallest of them.
    """

    name: str
    line: int
    tokens: int
    correct: int
    probability: float
    least: float


def functions_of(file_name: str, scored: ScoredText) -> list[FunctionScore]:
    """The functions that have scored tokens, least sure first; none in a file without a parser."""
    language = language_of(file_name)
    if language is None:
        return []
    text = "".join(scored.pieces)
    starts = list(accumulate((len(piece) for piece in scored.pieces), initial=0))[:-1]
    found = []
    for function in find_functions(text, language):
        numbers = range(bisect_left(starts, function.start), bisect_left(starts, function.end))
        scores = [scored.scores[number] for number in numbers if number in scored.scores]
        if scores:
            probabilities = [score.probability for score in scores]
            found.append(
                FunctionScore(
                    name=function.name,
                    line=text.count("\n", 0, function.start) + 1,
                    tokens=len(scores),
                    correct=sum(score.correct for score in scores),
                    probability=fmean(probabilities),
                    least=min(probabilities),
                )
            )
    return sorted(found, key=lambda function: function.probability)
