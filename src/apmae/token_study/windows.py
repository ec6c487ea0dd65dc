"""Windows of consecutive tokens, drawn from the files of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apmae.common.seeding import numpy_generator
from apmae.corpus import Corpus, SkippedFile, SourceFile
from apmae.corpus.hygiene import Hygiene
from apmae.prompts import FileHoles, PromptFormatter
from apmae.study.config import StudyConfig
from apmae.token_study.syntax import classify


class Window(NamedTuple):
    """Consecutive tokens of a file behind its header; T of them, with those that the tokenizer puts first.

    Attributes:
        line: of the first token that is the file's, from 1.
        input_ids: (T,) int32.
        syntax: (T,) int8, numbers of `SYNTAX_CLASSES`; 0 for tokens that the tokenizer puts first.
        is_first: (T,), see `TokenClasses`.
    """

    file: str
    group: str
    line: int
    input_ids: NDArray[np.int32]
    syntax: NDArray[np.int8]
    is_first: NDArray[np.bool_]


def draw_windows(corpus: Corpus, config: StudyConfig, formatter: PromptFormatter) -> Iterator[Window]:
    """Windows of the corpus's files in their seeded order, at random places that do not overlap.

    A file gives at most `tokens.per_file` windows. Files that are shorter than a window give none.
    """
    hygiene = Hygiene(config.corpus, config.seed)
    for file in hygiene.sift(file for _, file in corpus.files()):
        if not isinstance(file, SkippedFile):
            yield from _of_file(file, config, formatter)


def _of_file(file: SourceFile, config: StudyConfig, formatter: PromptFormatter) -> Iterator[Window]:
    holes = FileHoles(file.text, formatter, config.corpus.language, ())
    document, width = holes.document, formatter.context_tokens
    leading = np.array(formatter.leading_ids, dtype=np.int32)
    classes = classify(document, config.corpus.language)
    generator = numpy_generator(config.seed, "tokens", "windows", file.path)
    for start in _places(len(document.token_ids), width, config.tokens.per_file, generator):
        some = slice(start, start + width)
        yield Window(
            file.path,
            file.group,
            holes.line_at(document.starts[start]),
            np.concatenate([leading, np.array(document.token_ids[some], dtype=np.int32)]),
            np.concatenate([np.zeros(len(leading), np.int8), classes.syntax[some]]),
            np.concatenate([np.ones(len(leading), np.bool_), classes.is_first[some]]),
        )


def _places(tokens: int, width: int, most: int, generator: np.random.Generator) -> list[int]:
    """Starts of windows: a uniform draw among all sets of so many that do not overlap, ascending."""
    count = min(most, tokens // width)
    free = tokens - count * width
    gaps = np.sort(generator.integers(free + 1, size=count))
    return [int(gap) + number * width for number, gap in enumerate(gaps)]
