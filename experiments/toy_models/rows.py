"""Rows of token ids made from source files.

1. Files are cut into windows of `WINDOW_CHARACTERS`; windows that are mostly comments are dropped,
   since no task asks about comments.
2. Every epoch visits the windows in its own order, each moved by a random offset.
3. A row is the tokens from there on. At the rate of fill-in-the-middle it is several examples of
   log-uniform lengths, each a piece of the text, cut at two places and reordered (Bavarian et al. 2022,
   within the context, PSM): `<fim_prefix> left <fim_suffix> right <fim_middle> middle <|endoftext|>`.
   Only the first tokens of a middle ask for the left side, so many short examples teach more than one
   long one. Half of the middles are holes as the tasks have them: one word, operator, sign or line break.
   The others are any number of these and of blanks.
4. Sentinels are given, so no place has to predict one. What stands before `<fim_suffix>`, and
   `<fim_suffix>` itself, are to predict the middle's first token: what the left side leads one to expect is
   then at one place, and `<fim_middle>` only has to look there.

A row is a function of the seed and its number, so training goes on from a step alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from apmae.common.seeding import numpy_generator
from experiments.toy_models.tokenizer import END, LEXEME, MIDDLE, PAD, PREFIX, SUFFIX

WINDOW_CHARACTERS = 1024
CHARACTERS_PER_TOKEN = 8
"""More than a row's tokens ever average; what is left over is cut off."""
FIM_SPARE_TOKENS = 12
"""Sentinels of an example, and what two cuts add to the number of tokens."""
SHORTEST_EXAMPLE_TOKENS = 20
SINGLE_RATE = 0.5
"""Fraction of the middles that are one lexeme."""
IGNORED_LABEL = -100
COMMENT_STARTS = ("*", "/*", "//")


class Row(NamedTuple):
    """Token ids, and as many labels: what the place before is to predict, or `IGNORED_LABEL`."""

    ids: list[int]
    labels: list[int]


class Window(NamedTuple):
    """A place in a file."""

    file: int
    start: int


class Rows(Dataset[dict[str, Tensor]]):
    """Rows of `row_tokens` token ids, without end; `len` is the rows of one epoch.

    A row that its file cannot fill ends in `<fim_pad>`, which has no label.

    Args:
        texts: whole files.
        fim_rate: fraction of the rows that are fill-in-the-middle.
    """

    def __init__(
        self, texts: Sequence[str], tokenizer: Tokenizer, row_tokens: int, fim_rate: float, seed: int
    ) -> None:
        self.texts = texts
        self.row_tokens = row_tokens
        self.fim_rate = fim_rate
        self.seed = seed
        self._windows = [
            Window(file, start) for file, text in enumerate(texts) for start in code_windows(text)
        ]
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._ids = {name: vocabulary[name] for name in (END, PREFIX, MIDDLE, SUFFIX, PAD)}
        self._order = lru_cache(maxsize=1)(self._draw_order)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        generator = numpy_generator(self.seed, "organisms", "row", number)
        epoch, place = divmod(number, len(self))
        text = self._text(self._windows[self._order(epoch)[place]], generator)
        row = self._fim_row(text, generator) if generator.random() < self.fim_rate else self._causal_row(text)
        padding = self.row_tokens - len(row.ids)
        return {
            "input_ids": torch.tensor(row.ids + padding * [self._ids[PAD]]),
            "labels": torch.tensor(row.labels + padding * [IGNORED_LABEL]),
        }

    def _draw_order(self, epoch: int) -> np.ndarray:
        return numpy_generator(self.seed, "organisms", "epoch", epoch).permutation(len(self))

    def _text(self, window: Window, generator: np.random.Generator) -> str:
        """More text than a row holds, from near the window's start, or up to the end of the file."""
        text = self.texts[window.file]
        start = window.start + int(generator.integers(WINDOW_CHARACTERS)) - WINDOW_CHARACTERS // 2
        start = max(0, min(start, len(text) - WINDOW_CHARACTERS))
        return text[start : start + CHARACTERS_PER_TOKEN * self.row_tokens]

    def _causal_row(self, text: str) -> Row:
        ids = [*self._encode(text), self._ids[END]][: self.row_tokens]
        return Row(ids, ids)

    def _fim_row(self, text: str, generator: np.random.Generator) -> Row:
        offsets = self._tokenizer.encode(text).offsets
        row = Row([], [])
        first = 0
        while first < len(offsets):
            room = self.row_tokens - FIM_SPARE_TOKENS - len(row.ids)
            if room < SHORTEST_EXAMPLE_TOKENS:
                break
            last = min(first + draw_length(room, generator), len(offsets)) - 1
            piece = text[offsets[first][0] : offsets[last][1]]
            example = fim_example(piece, *draw_middle(piece, generator), self._encode, self._ids)
            row = Row(row.ids + example.ids, row.labels + example.labels)
            first = last + 1
        return Row(row.ids[: self.row_tokens], row.labels[: self.row_tokens])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


def code_windows(text: str) -> list[int]:
    """Starts of a file's windows of which at most half the characters stand in comment lines."""
    starts = range(0, max(1, len(text) - WINDOW_CHARACTERS // 2), WINDOW_CHARACTERS)
    return [start for start in starts if comment_fraction(text[start : start + WINDOW_CHARACTERS]) <= 0.5]


def comment_fraction(text: str) -> float:
    """Fraction of the characters that stand in lines which begin like a comment's."""
    lines = text.splitlines()
    comments = sum(len(line) for line in lines if line.lstrip().startswith(COMMENT_STARTS))
    return comments / max(1, sum(map(len, lines)))


def draw_length(room: int, generator: np.random.Generator) -> int:
    """Tokens of an example: log-uniform from the shortest to all that there is room for."""
    return int(SHORTEST_EXAMPLE_TOKENS * (room / SHORTEST_EXAMPLE_TOKENS) ** generator.random())


def draw_middle(text: str, generator: np.random.Generator) -> tuple[int, int]:
    """Where the middle starts and ends: one lexeme, no blank, or a log-uniform number of them.

    The holes of the tasks are a few characters long; two uniform cuts would hardly ever make such.
    """
    cuts = [*(match.start() for match in re.finditer(LEXEME, text)), len(text)]
    singles = [number for number, start in enumerate(cuts[:-1]) if text[start] not in " \t"]
    if singles and generator.random() < SINGLE_RATE:
        first, count = int(generator.choice(singles)), 1
    else:
        count = int((len(cuts) - 1) ** generator.random())
        first = int(generator.integers(len(cuts) - count))
    return cuts[first], cuts[first + count]


def fim_example(
    text: str, start: int, end: int, encode: Callable[[str], list[int]], ids: dict[str, int]
) -> Row:
    """The text as prefix, suffix and middle, each tokenized on its own."""
    left, middle, right = encode(text[:start]), encode(text[start:end]), encode(text[end:])
    first = middle[0]
    after_suffix = [first, *right[1:], IGNORED_LABEL] if right else [first]
    return Row(
        [ids[PREFIX], *left, ids[SUFFIX], *right, ids[MIDDLE], *middle, ids[END]],
        [IGNORED_LABEL, *left, first, *after_suffix, *middle, ids[END]],
    )
