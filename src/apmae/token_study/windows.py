"""Windows of tokens, drawn from the files of a corpus.

*Causal*: consecutive tokens of a file, each predicted from those before it. *Fill-in-the-middle*: a prompt
whose hole is some consecutive tokens, and these tokens behind it, each predicted from the prompt and those
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apmae.common.errors import ApmaeError
from apmae.common.seeding import numpy_generator
from apmae.corpus import Corpus, SkippedFile, SourceFile
from apmae.corpus.hygiene import Hygiene
from apmae.prompts import Document, FileHoles, PromptFormatter, Skip
from apmae.prompts.fim import Side
from apmae.prompts.spans import Span
from apmae.study.config import StudyConfig
from apmae.token_study.syntax import classify

SHORTEST_PROMPT = 16


class Window(NamedTuple):
    """T tokens of a file behind its header, with those that the tokenizer puts first, and sentinels.

    Attributes:
        line: of the first consecutive token, from 1.
        input_ids: (T,) int32; the last ones are consecutive tokens.
        syntax: (T,) int8, numbers of `SYNTAX_CLASSES`; 0 for all but consecutive tokens.
        is_first: (T,), see `TokenClasses`.
    """

    file: str
    group: str
    line: int
    input_ids: NDArray[np.int32]
    syntax: NDArray[np.int8]
    is_first: NDArray[np.bool_]


class PlacedWindow(NamedTuple):
    """A window, and the document that it is cut from.

    Attributes:
        places: (T,) the document's token that each token of the window is; -1 for none.
        hole: (T,), tokens of a fill-in-the-middle window that fill in its hole.
        suffix: (T,), those that stand right of the hole in the text.
    """

    window: Window
    document: Document
    places: NDArray[np.int64]
    hole: NDArray[np.bool_]
    suffix: NDArray[np.bool_]


def draw_windows(
    corpus: Corpus, config: StudyConfig, formatter: PromptFormatter, per_file: int
) -> Iterator[PlacedWindow]:
    """Windows of the corpus's files in their seeded order, at random places that do not overlap.

    A file gives at most `per_file` windows. Files that are shorter than a window give none.
    """
    hygiene = Hygiene(config.corpus, config.seed)
    for file in hygiene.sift(file for _, file in corpus.files()):
        if not isinstance(file, SkippedFile):
            yield from _of_file(file, config, formatter, per_file)


def first_predicted(config: StudyConfig, formatter: PromptFormatter) -> int:
    """The place of the first token of a window that is looked at.

    Raises:
        ApmaeError: a window has no such token, or a prompt of fewer than 16 tokens before it.
    """
    length, tokens = config.prompts.length_tokens, config.tokens
    if formatter.format == "fim":
        name, first = "middle_tokens", length - tokens.middle_tokens
    else:
        name, first = "context_tokens", tokens.context_tokens
    if not SHORTEST_PROMPT <= first < length:
        raise ApmaeError(
            f"tokens.{name} {getattr(tokens, name)} does not fit the {length} tokens of a window: "
            "lower it, or raise prompts.length_tokens"
        )
    return first


def _of_file(
    file: SourceFile, config: StudyConfig, formatter: PromptFormatter, per_file: int
) -> Iterator[PlacedWindow]:
    holes = FileHoles(file.text, formatter, config.corpus.language, ())
    document = holes.document
    classes = classify(document, config.corpus.language)
    generator = numpy_generator(config.seed, "tokens", "windows", file.path)
    fill_in = formatter.format == "fim"
    width = config.tokens.middle_tokens if fill_in else formatter.context_tokens
    for start in _places(len(document.token_ids), width, per_file, generator):
        some = slice(start, start + width)
        before = _prompt_of(document, some, formatter) if fill_in else formatter.leading_ids
        if before is not None:
            window = Window(
                file.path,
                file.group,
                holes.line_at(document.starts[start]),
                np.array([*before, *document.token_ids[some]], dtype=np.int32),
                np.concatenate([np.zeros(len(before), np.int8), classes.syntax[some]]),
                np.concatenate([np.ones(len(before), np.bool_), classes.is_first[some]]),
            )
            yield _placed(window, document, some, len(before), formatter)


def _placed(
    window: Window, document: Document, tokens: slice, before: int, formatter: PromptFormatter
) -> PlacedWindow:
    length = len(window.input_ids)
    places, suffix = np.full(length, -1), np.zeros(length, dtype=np.bool_)
    places[before:] = range(tokens.start, tokens.stop)
    hole = np.zeros(length, dtype=np.bool_)
    if formatter.format == "fim":
        hole[before:] = True
        for side, there in formatter.places_of_sides(window.input_ids[:before].tolist()).items():
            count = there.stop - there.start
            first = tokens.start - count if side is Side.LEFT else tokens.stop
            places[there] = range(first, first + count)
            suffix[there] = side is Side.RIGHT
        ids = np.array(document.token_ids)
        # Tokens at an edge of the hole may be cut there, and are then no tokens of the document.
        places[ids[places.clip(0, len(ids) - 1)] != window.input_ids] = -1
    return PlacedWindow(window, document, places, hole, suffix)


def _prompt_of(document: Document, tokens: slice, formatter: PromptFormatter) -> Sequence[int] | None:
    """The prompt whose hole is these tokens; None if it is too short, or their text has others alone."""
    span = Span("random", document.starts[tokens.start], document.ends[tokens.stop - 1])
    middle = list(document.token_ids[tokens])
    if formatter.own_tokens(document, span) != middle:
        return None
    prompt = formatter.of_length(formatter.length_tokens - len(middle)).prompt(document, span)
    return None if isinstance(prompt, Skip) else prompt.input_ids


def _places(tokens: int, width: int, most: int, generator: np.random.Generator) -> list[int]:
    """Starts of windows: a uniform draw among all sets of so many that do not overlap, ascending."""
    count = min(most, tokens // width)
    free = tokens - count * width
    gaps = np.sort(generator.integers(free + 1, size=count))
    return [int(gap) + number * width for number, gap in enumerate(gaps)]
