"""What an intervention does to generated code: whole holes of files, and whether the files still parse.

The holes are of the measured split's files, as they come: other ones than the study's prompts, and not
balanced by outcome. Each is filled in by greedy decoding of as many tokens as it has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

import polars as pl
from torch import Tensor

from apmae.common.seeding import numpy_generator
from apmae.corpus import Corpus, SourceFile
from apmae.corpus.hygiene import Hygiene
from apmae.intervention.conditions import Condition
from apmae.prompts import FileHoles, Prompt, PromptFormatter, prompts_of
from apmae.prompts.spans import parses
from apmae.prompts.stage import split_of
from apmae.prompts.tokenization import plain_ids, token_texts
from apmae.study.artifacts import GENERATED
from apmae.study.config import StudyConfig
from apmae.target_model import Target

FILES_PER_HOLE = 20
"""Files that are read for each hole wanted of a task; rare tasks get fewer holes."""
RANDOM_SPANS = 1
"""Spans of the task `random` that are wanted of a file."""


class Hole(NamedTuple):
    """A hole to fill in: `before` and `after` are the file's text around the characters that go."""

    task: str
    file: str
    group: str
    line: int
    prompt: Prompt
    before: str
    text: str
    after: str


def draw_holes(
    corpus: Corpus, config: StudyConfig, formatter: PromptFormatter, tasks: Sequence[str], max_tokens: float
) -> Iterator[Hole]:
    """Holes of these tasks, at most one of a task from one file, of files that parse; read as they are taken.

    Args:
        formatter: makes prompts that are completed by whole holes.
        max_tokens: the longest sequence that the target reads; longer completions are left out.
    """
    wanted = config.intervention.generated_holes
    have: Counter[str] = Counter()
    sifted = Hygiene(config.corpus, config.seed).sift(file for _, file in corpus.files())
    for read, file in enumerate(sifted):
        lacking = [task for task in tasks if have[task] < wanted]
        if not lacking or read == FILES_PER_HOLE * wanted:
            break
        if isinstance(file, SourceFile) and split_of(file.group, config) == config.measured_split:
            for hole in _of_file(file, config, formatter, lacking):
                if len(hole.prompt.input_ids) + len(hole.prompt.true_ids) - 1 <= max_tokens:
                    have[hole.task] += 1
                    yield hole


def generated(
    target: Target, holes: Sequence[Hole], condition: Condition, means: Tensor | None, config: StudyConfig
) -> pl.DataFrame:
    """The holes of the condition's task, filled in by the target as it is and under the condition.

    Returns:
        `GENERATED`.
    """
    holes = [hole for hole in holes if hole.task == condition.task]
    prompts = [hole.prompt for hole in holes]
    plain = _written(target, prompts, config.target.batch_size)
    factors = condition.intervention.factors(target.n_layers, target.n_heads)
    with target.scale_heads(factors, means if condition.operation.uses_means else None):
        changed = _written(target, prompts, config.target.batch_size)
    rows = []
    for hole, *texts in zip(holes, plain, changed, strict=True):
        judged = [
            (text, text == hole.text, parses(hole.before + text + hole.after, config.corpus.language))
            for text in texts
        ]
        rows.append((hole.task, hole.file, hole.group, hole.line, hole.text, *judged[0], *judged[1]))
    return GENERATED.of_rows(rows)


def _of_file(
    file: SourceFile, config: StudyConfig, formatter: PromptFormatter, tasks: Sequence[str]
) -> Iterator[Hole]:
    holes = FileHoles(file.text, formatter, config.corpus.language, tasks)
    text = holes.document.text
    if not parses(text, config.corpus.language):
        return
    for task in tasks:
        generator = numpy_generator(config.seed, "generated", task, file.path)
        spans = holes.spans(task, generator, RANDOM_SPANS)
        drawn = (spans[place] for place in generator.permutation(len(spans)))
        for span, prompt in prompts_of(holes.document, drawn, formatter):
            there = formatter.replaced(holes.document, span)
            yield Hole(
                task,
                file.path,
                file.group,
                holes.line(span),
                prompt,
                text[: there.start],
                text[there],
                text[there.stop :],
            )
            break


def _written(target: Target, prompts: Sequence[Prompt], batch_size: int) -> list[str]:
    """What greedy decoding writes of as many tokens as each hole has, up to the first that is no text."""
    plain = set(plain_ids(target.tokenizer))
    texts = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        longest = max(len(prompt.true_ids) for prompt in batch)
        written = target.greedy([prompt.input_ids for prompt in batch], longest).tolist()
        for prompt, ids in zip(batch, written, strict=True):
            own = takewhile(plain.__contains__, ids[: len(prompt.true_ids)])
            texts.append("".join(token_texts(target.tokenizer, list(own))))
    return texts
