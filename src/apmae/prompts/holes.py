"""The holes of a source file: the spans of every task, and the prompts that they make.

Mining, scoring and the evaluation of toy models take a file's holes from here, so a file has the same holes
wherever it is read. The file's header, its licence above all, has no hole and is in no prompt: a third of the
fill-in-the-middle prompts of the JDK would otherwise lie in one and the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from apmae.corpus.content_checks import header
from apmae.languages import language_named
from apmae.prompts.documents import Document, Prompt, Skip, random_spans
from apmae.prompts.formats import PromptFormatter
from apmae.prompts.spans import Span, find_spans

RANDOM = "random"
"""The task whose holes are drawn; the other tasks' holes are parsed."""


class FileHoles:
    """The tokens of a source file behind its header, and the spans by task; both are made once.

    Attributes:
        document: the tokenized text behind the header; spans count its characters.
    """

    def __init__(self, text: str, formatter: PromptFormatter, language: str, tasks: Iterable[str]) -> None:
        """Parse and tokenize a file.

        Args:
            text: the whole file.
            tasks: the tasks that will be asked for.

        Raises:
            ApmaeError: the language is unknown, or has no such task.
        """
        start = header(text, language_named(language).comments).rfind("\n") + 1
        text, self._lines_before = text[start:], text.count("\n", 0, start)
        self.document: Document = formatter.tokenize(text)
        parsed = sorted(set(tasks) - {RANDOM})
        self._spans = find_spans(text, language, parsed) if parsed else {}

    def spans(
        self, task: str, generator: np.random.Generator, n_random: int, tokens: range | None = None
    ) -> list[Span]:
        """The spans of a task: all of them in the order of the text, or several times `n_random` drawn ones.

        Args:
            n_random: spans of the task `random` that are wanted; some of those drawn make no prompt.
            tokens: which tokens may start a span of the task `random`; all of them by default.
        """
        if task == RANDOM:
            return list(random_spans(self.document, n_random, generator, tokens))
        return self._spans[task]

    def line(self, span: Span) -> int:
        """The line of the file that a span starts on, from 1."""
        return self.line_at(span.start)

    def line_at(self, character: int) -> int:
        """The line of the file that a character of the document stands on, from 1."""
        return self._lines_before + self.document.text.count("\n", 0, character) + 1

    def column(self, span: Span) -> int:
        """The column that a span starts at, in characters from 1."""
        return span.start - self.document.text.rfind("\n", 0, span.start)

    def text(self, span: Span) -> str:
        """The text of a span."""
        return self.document.text[span.start : span.end]


def prompts_of(
    document: Document, spans: Iterable[Span], formatter: PromptFormatter
) -> Iterator[tuple[Span, Prompt]]:
    """The spans that make a prompt, each with its prompt."""
    for span in spans:
        prompt = formatter.prompt(document, span)
        if not isinstance(prompt, Skip):
            yield span, prompt
