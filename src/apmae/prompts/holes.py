"""The holes of a source file: the spans of every task, and the prompts that they make.

Mining, scoring and the evaluation of toy models take a file's holes from here, so a file has the same holes
wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from apmae.prompts.documents import Document, Prompt, Skip, random_spans
from apmae.prompts.formats import PromptFormatter
from apmae.prompts.spans import Span, find_spans

RANDOM = "random"
"""The task whose holes are drawn; the other tasks' holes are parsed."""


class FileHoles:
    """A source file's tokens and its spans by task; the file is parsed and tokenized once."""

    def __init__(self, text: str, formatter: PromptFormatter, language: str, tasks: Iterable[str]) -> None:
        """Parse and tokenize a file.

        Args:
            text: the whole file.
            tasks: the tasks that will be asked for.

        Raises:
            ApmaeError: the language is unknown, or has no such task.
        """
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
        """The line that a span starts on, from 1."""
        return self.document.text.count("\n", 0, span.start) + 1

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
