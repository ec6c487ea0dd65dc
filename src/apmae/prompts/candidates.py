"""Candidates: the holes of a file that may become prompts of a quota.

Every candidate has a random key between 0 and 1, drawn from (seed, quota, file). Whatever is chosen among
candidates is chosen by smallest key, so a choice is a uniform draw over all files read, and does not
depend on the order in which the files came.

A *survey* sees many candidates for the price of few, see `apmae.prompts.survey`. For it the causal candidates
of a file share a *window*, consecutive tokens at a random place of the file, of which the prompt of each is a
slice; a fill-in-the-middle candidate has a short prompt too.

Shape suffixes: T tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from apmae.common.seeding import numpy_generator
from apmae.corpus import SourceFile
from apmae.prompts import Document, FileHoles, PromptFormatter, Skip, Span, hole_token, tokens_of_hole

STUDY = "study"
ENCODER = "encoder"

HOLES_PER_WINDOW = 32
"""At most this many candidates of a quota in one window."""
SHORT_TOKENS = 32
"""Length of the short fill-in-the-middle prompts."""

Outcome = dict[str, Any]
"""Outcome columns of `PROMPTS` by name."""


class Quota(NamedTuple):
    """What is collected: prompts of one task for one purpose."""

    purpose: str
    task: str


class Window(NamedTuple):
    """Consecutive tokens of a file, and the ones that the tokenizer puts before every text."""

    token_ids: np.ndarray[Any, np.dtype[np.int32]]
    leading_ids: tuple[int, ...]
    context_tokens: int
    """Tokens of the file in a prompt."""

    @property
    def length_tokens(self) -> int:
        """Tokens of the whole window."""
        return len(self.leading_ids) + len(self.token_ids)

    @property
    def input_ids(self) -> list[int]:
        """The whole window, as one sequence for the target."""
        return [*self.leading_ids, *self.token_ids.tolist()]

    def prompt(self, position: int) -> list[int]:
        """The exact prompt, (T,), of the hole whose token is at `position`."""
        return [*self.leading_ids, *self.token_ids[position - self.context_tokens : position].tolist()]


@dataclass(slots=True, eq=False)
class Candidate:
    """A hole that may become a prompt.

    Attributes:
        key: random, in [0, 1).
        true_ids: tokens of a correct completion; none for noise.
        place: the prompt's token ids, or the position of its hole in the file's window.
        window: of the file, where `place` is a position.
        short: token ids of a prompt of `SHORT_TOKENS` tokens, if a survey can run that.
        searched: the target ran on it because a survey had proposed it.
        seen: the true tokens' probability in a survey; None while none saw it.
        outcome: of its own exact prompt; None while the target did not run on it.
    """

    quota: Quota
    file: str
    group: str
    line: int | None
    text: str | None
    key: float
    true_ids: Sequence[int]
    place: int | Sequence[int]
    window: Window | None = None
    short: Sequence[int] | None = None
    searched: bool = False
    seen: float | None = None
    outcome: Outcome | None = None

    @property
    def input_ids(self) -> list[int]:
        """The prompt, (T,)."""
        if isinstance(self.place, int):
            assert self.window is not None
            return self.window.prompt(self.place)
        return list(self.place)

    @property
    def correct(self) -> bool | None:
        """Whether the target is correct; None where it did not run, or for noise."""
        return None if self.outcome is None else self.outcome["correct"]


class FileCandidates(NamedTuple):
    """A file's candidates by quota, each quota's by ascending key.

    Attributes:
        window: which they share; None for fill-in-the-middle prompts.
        skipped: why holes gave no candidate, one entry a hole.
    """

    window: Window | None
    by_quota: dict[Quota, list[Candidate]]
    skipped: list[str]


class CandidateMaker:
    """Makes the candidates of a file."""

    def __init__(
        self,
        formatter: PromptFormatter,
        language: str,
        seed: int,
        per_file: int,
        window_tokens: int | None,
    ) -> None:
        """Make candidates for prompts of one format.

        Args:
            per_file: candidates of a quota that are taken from a file as they come.
            window_tokens: length of the windows of causal prompts; None for whole files.
        """
        self.formatter = formatter
        self._short = formatter.of_length(SHORT_TOKENS)
        self._window_width = window_tokens
        self._language = language
        self._seed = seed
        self._per_file = per_file

    def of_file(self, file: SourceFile, quotas: Iterable[Quota]) -> FileCandidates:
        """The file's candidates for these quotas."""
        quotas = list(quotas)
        holes = FileHoles(file.text, self.formatter, self._language, [quota.task for quota in quotas])
        document = holes.document
        skipped: list[str] = []
        if self.formatter.format == "causal":
            tokens = self._window_tokens(document, file.path)
            window = self._window(document, tokens)
        else:
            tokens, window = range(len(document.token_ids)), None
        by_quota = {}
        for quota in quotas:
            generator = numpy_generator(self._seed, "prompts", *quota, file.path)
            spans = holes.spans(quota.task, generator, self._per_file, tokens)
            keyed = sorted(zip(generator.random(len(spans)).tolist(), spans, strict=True))
            if window is None:
                made = self._filling_in(quota, file, holes, keyed, skipped)
                limit = self._per_file
            else:
                made = self._causal(quota, file, holes, keyed, tokens, window, skipped)
                limit = HOLES_PER_WINDOW
            by_quota[quota] = [candidate for candidate, _ in zip(made, range(limit), strict=False)]
        return FileCandidates(window, by_quota, skipped)

    def noise(self, number: int) -> Candidate:
        """A candidate of the task `noise`."""
        quota = Quota(STUDY, "noise")
        prompt = self.formatter.noise(numpy_generator(self._seed, "prompts", *quota, number))
        name = f"noise/{number}"
        return Candidate(quota, name, name, None, None, 0.0, (), prompt.input_ids)

    def _window_tokens(self, document: Document, path: str) -> range:
        """Which tokens may start a hole: behind a prompt's context, at a random place of a long file."""
        context, count = self.formatter.context_tokens, len(document.token_ids)
        width = count if self._window_width is None else self._window_width - self.formatter.length_tokens
        first = context
        if count - context > width:
            generator = numpy_generator(self._seed, "prompts", "window", path)
            first += int(generator.integers(count - context - width + 1))
        return range(first, min(first + width, count))

    def _window(self, document: Document, tokens: range) -> Window:
        context = self.formatter.context_tokens
        start = tokens.start - context
        token_ids = np.asarray(document.token_ids[start : max(start, tokens.stop)], np.int32)
        return Window(token_ids, tuple(self.formatter.leading_ids), context)

    def _causal(
        self,
        quota: Quota,
        file: SourceFile,
        holes: FileHoles,
        keyed: list[tuple[float, Span]],
        tokens: range,
        window: Window,
        skipped: list[str],
    ) -> Iterator[Candidate]:
        start = tokens.start - window.context_tokens
        for key, span in keyed:
            index = hole_token(holes.document, span)
            if index is None:
                skipped.append(Skip.STRADDLES_TOKEN.value)
            elif index < window.context_tokens:
                skipped.append(Skip.TOO_FEW_TOKENS.value)
            elif index in tokens:
                true_ids = self.formatter.counted(tokens_of_hole(holes.document, span, index))
                if isinstance(true_ids, Skip):
                    skipped.append(true_ids.value)
                else:
                    yield _candidate(quota, file, holes, span, key, true_ids, index - start, window)

    def _filling_in(
        self,
        quota: Quota,
        file: SourceFile,
        holes: FileHoles,
        keyed: list[tuple[float, Span]],
        skipped: list[str],
    ) -> Iterator[Candidate]:
        for key, span in keyed:
            prompt = self.formatter.prompt(holes.document, span)
            if isinstance(prompt, Skip):
                skipped.append(prompt.value)
            else:
                made = _candidate(quota, file, holes, span, key, prompt.true_ids, prompt.input_ids, None)
                short = self._short.prompt(holes.document, span)
                made.short = None if isinstance(short, Skip) else short.input_ids
                yield made


def _candidate(
    quota: Quota,
    file: SourceFile,
    holes: FileHoles,
    span: Span,
    key: float,
    true_ids: Sequence[int],
    place: int | Sequence[int],
    window: Window | None,
) -> Candidate:
    line, text = holes.line(span), holes.text(span)
    return Candidate(quota, file.path, file.group, line, text, key, true_ids, place, window)
