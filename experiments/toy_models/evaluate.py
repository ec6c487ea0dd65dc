"""How good a toy model is on packages that it never saw: loss, and next-token accuracy per task.

Holes, prompts and outcomes are those of a study (`apmae.prompts`, `apmae.target_model`); a hole counts only
where it makes a prompt of both formats, so that both are measured on the same holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch

from apmae.common.seeding import numpy_generator
from apmae.corpus import SourceFile
from apmae.languages import language_named
from apmae.prompts import Document, FileHoles, Prompt, PromptFormatter, Skip, Span
from apmae.prompts.holes import RANDOM
from apmae.target_model import Target, outcomes

LENGTH_TOKENS = 256
PER_FILE = 4
BATCH_PROMPTS = 16
LANGUAGE = "java"
TASKS = tuple(task for task in language_named(LANGUAGE).tasks if task != "noise")


class Hole(NamedTuple):
    """One hole as a prompt of each format."""

    fim: Prompt
    causal: Prompt


class TaskAccuracy(NamedTuple):
    """Fractions of a task's holes whose next token the model predicts."""

    task: str
    holes: int
    fim: float
    causal: float


def accuracies(target: Target, files: Sequence[SourceFile], per_task: int, seed: int) -> list[TaskAccuracy]:
    """Next-token accuracy per task over the first holes that the files give, at their base rate."""
    formatters = [PromptFormatter(target.tokenizer, name, LENGTH_TOKENS) for name in ("fim", "causal")]
    found = []
    for task in TASKS:
        holes = list(islice(find_holes(task, files, formatters, seed), per_task))
        fim = accuracy(target, [hole.fim for hole in holes])
        causal = accuracy(target, [hole.causal for hole in holes])
        found.append(TaskAccuracy(task, len(holes), fim, causal))
    return found


def find_holes(
    task: str, files: Sequence[SourceFile], formatters: Sequence[PromptFormatter], seed: int
) -> Iterator[Hole]:
    """Holes of a task at random places, at most `PER_FILE` from one file."""
    for file in files:
        generator = numpy_generator(seed, "organisms", "holes", task, file.path)
        holes = FileHoles(file.text, formatters[0], LANGUAGE, [task])
        spans = holes.spans(task, generator, PER_FILE)
        if task != RANDOM:
            spans = [spans[index] for index in generator.permutation(len(spans))]
        yield from islice(_holes(holes.document, spans, formatters), PER_FILE)


def accuracy(target: Target, prompts: Sequence[Prompt]) -> float:
    """Fraction of the prompts whose next token has the largest logit."""
    right = 0
    for start in range(0, len(prompts), BATCH_PROMPTS):
        batch = prompts[start : start + BATCH_PROMPTS]
        logits = target.logits([prompt.input_ids for prompt in batch])
        true_ids = torch.tensor([prompt.next_token_id for prompt in batch], device=logits.device)
        right += int(outcomes(logits, true_ids).correct.sum())
    return right / len(prompts) if prompts else float("nan")


def _holes(
    document: Document, spans: Iterable[Span], formatters: Sequence[PromptFormatter]
) -> Iterator[Hole]:
    for span in spans:
        fim, causal = (formatter.prompt(document, span) for formatter in formatters)
        if not (isinstance(fim, Skip) or isinstance(causal, Skip)):
            yield Hole(fim, causal)
