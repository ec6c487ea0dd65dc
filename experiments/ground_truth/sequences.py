"""What each model with known heads is asked: sequences of letters, and the token that truly follows.

Some of the true tokens are what the model computes, and some are not, as in a corpus: only so are there
correct and incorrect completions. Where a model looks for an earlier occurrence, an incorrect completion has
none, and its patterns tell. Elsewhere nothing does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

BOS = "<bos>"
LENGTH = 64
"""Tokens of a prompt, `BOS` among them."""
FOLLOWED = 0.6
"""Fraction of the prompts in which the model's rule holds."""

Draw = Callable[[np.random.Generator, tuple[str, ...]], tuple[list[str], str]]


class Sequences(NamedTuple):
    """The prompts of a model.

    Attributes:
        letters: that its sequences have.
        draw: the letters of a prompt, and the token that truly follows.
    """

    letters: tuple[str, ...]
    draw: Draw

    def prompt(self, generator: np.random.Generator) -> tuple[list[str], str]:
        """Tokens of a prompt, `LENGTH`, and the token that truly follows."""
        letters, following = self.draw(generator, self.letters)
        return [BOS, *letters], following


def _letters(generator: np.random.Generator, letters: tuple[str, ...]) -> list[str]:
    return [str(letter) for letter in generator.choice(letters, LENGTH - 1)]


def _previous(generator: np.random.Generator, letters: tuple[str, ...]) -> tuple[list[str], str]:
    """The token before the last one follows."""
    found = _letters(generator, letters)
    return found, found[-2] if generator.random() < FOLLOWED else str(generator.choice(letters))


def _count(generator: np.random.Generator, letters: tuple[str, ...]) -> tuple[list[str], str]:
    """How often the last token has occurred follows."""
    found = _letters(generator, letters)
    count = found.count(found[-1])
    return found, str(count if generator.random() < FOLLOWED else count + generator.choice((-1, 1)))


def _repeat(generator: np.random.Generator, letters: tuple[str, ...], matched: int) -> tuple[list[str], str]:
    """The token follows that followed the last `matched` ones before, if they occurred before."""
    ending = generator.choice(letters, matched, replace=False).tolist()
    others = [letter for letter in letters if letter != ending[0]]
    found = [*generator.choice(others, LENGTH - 1 - matched).tolist(), *ending]
    if generator.random() >= FOLLOWED:
        return found, str(generator.choice(letters))
    start = int(generator.integers(LENGTH - 3 - 2 * matched))
    found[start : start + matched] = ending
    return found, found[start + matched]


def _induction(generator: np.random.Generator, letters: tuple[str, ...]) -> tuple[list[str], str]:
    return _repeat(generator, letters, 1)


def _induction_of_two(generator: np.random.Generator, letters: tuple[str, ...]) -> tuple[list[str], str]:
    return _repeat(generator, letters, 2)


ALPHABET = tuple("abcdefghijklmnopqrst")

SEQUENCES: Mapping[str, Sequences] = {
    "previous": Sequences(ALPHABET, _previous),
    "count": Sequences(ALPHABET[:12], _count),
    "induction": Sequences(ALPHABET, _induction),
    "induction-of-two": Sequences(ALPHABET[:6], _induction_of_two),
    "trained-induction": Sequences(ALPHABET, _induction),
}
"""By model: `trained-induction` is trained, the others are compiled programs."""
