"""The holes of a source file, as a study would mine them, and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, TypeVar

from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, silent
from apmae.common.seeding import numpy_generator
from apmae.corpus.files import read_source
from apmae.languages import language_named
from apmae.prompts import FileHoles, Prompt, PromptFormatter, prompts_of
from apmae.prompts.tokenization import token_texts
from apmae.scoring.scorer import Score, Scorer
from apmae.scoring.tokens import ScoredText, TokenScorer
from apmae.study.config import StudyConfig
from apmae.target_model import Completions, Target

T = TypeVar("T")


class FileHole(NamedTuple):
    """A hole of a file with its prompt.

    Attributes:
        line, column: where it starts, from 1; columns count characters.
        text: what stands in it.
    """

    task: str
    line: int
    column: int
    text: str
    prompt: Prompt


class HoleScore(NamedTuple):
    """A hole, what the target puts there, and how that was predicted to be.

    Attributes:
        completion: text of the predicted token, or of the written ones up to the first wrong one.
        correct: whether it is what stands there, by the study's `prompts.outcome`.
    """

    hole: FileHole
    completion: str
    correct: bool
    score: Score


def score_files(
    scorer: Scorer,
    paths: Sequence[Path],
    tasks: Sequence[str] | None = None,
    limit: int = 20,
    progress: Progress = silent,
) -> Iterator[tuple[Path, list[HoleScore]]]:
    """Score the holes of source files, file by file.

    Args:
        tasks: of the scorer's; all by default.
        limit: holes of a task in a file, at most, evenly spread over its holes.

    Returns:
        An iterator over the paths, each with its holes in the order of the text.

    Raises:
        ApmaeError: at once, before any file is scored: a task has no predictor, or a file cannot be
            read, is of another language, or has no hole with a whole prompt.
    """
    for task in tasks or ():
        scorer.require_task(task)
    chosen = [task for task in scorer.tasks if not tasks or task in tasks]
    sources = [_read(path, scorer.study.config) for path in paths]
    holes = [
        file_holes(path, source, scorer.study.config, scorer.formatter, chosen, limit)
        for path, source in zip(paths, sources, strict=True)
    ]
    return (
        (path, _score_holes(scorer, found, progress, path.name))
        for path, found in zip(paths, holes, strict=True)
    )


def score_texts(
    scorer: TokenScorer, paths: Sequence[Path], progress: Progress = silent
) -> Iterator[tuple[Path, ScoredText]]:
    """Score every token of text files, file by file, whatever their language.

    Raises:
        ApmaeError: at once, before any file is scored: a file cannot be read.
    """
    sources = [read_source(path) for path in paths]
    return (
        (path, scorer.score(source, progress, path.name)) for path, source in zip(paths, sources, strict=True)
    )


def file_holes(
    path: Path,
    source: str,
    config: StudyConfig,
    formatter: PromptFormatter,
    tasks: Sequence[str],
    limit: int,
) -> list[FileHole]:
    """The holes of a file that make prompts, in the order of the text.

    Raises:
        ApmaeError: there is none.
    """
    holes = FileHoles(source, formatter, config.corpus.language, tasks)
    generator = numpy_generator(config.seed, "score", "random", path.name)
    found: list[FileHole] = []
    for task in tasks:
        spans = list(dict.fromkeys(holes.spans(task, generator, limit)))
        made = list(prompts_of(holes.document, spans, formatter))
        found += [
            FileHole(task, holes.line(span), holes.column(span), holes.text(span), prompt)
            for span, prompt in _evenly_spread(made, limit)
        ]
    if not found:
        raise ApmaeError(
            f"{path} has no hole of {', '.join(tasks)} with the {formatter.length_tokens} tokens "
            "around it that a prompt of this study needs; name a longer file"
        )
    return sorted(found, key=lambda hole: (hole.line, hole.column))


def _evenly_spread(items: Sequence[T], limit: int) -> Sequence[T]:
    """At most `limit` of the items, at even distances."""
    if len(items) <= limit:
        return items
    return [items[number * len(items) // limit] for number in range(limit)]


def _read(path: Path, config: StudyConfig) -> str:
    language = language_named(config.corpus.language)
    if not path.name.endswith(language.suffixes):
        raise ApmaeError(f"{path} is no {language.file_kind} file, and the study is of {language.name}")
    if not language.is_source(path.name):
        raise ApmaeError(f"{path} is a file of declarations, which studies leave out: name one with code")
    return read_source(path)


def _score_holes(scorer: Scorer, holes: list[FileHole], progress: Progress, name: str) -> list[HoleScore]:
    size = scorer.study.config.target.batch_size
    scored: list[HoleScore] = []
    for start in progress(range(0, len(holes), size), name):
        batch = holes[start : start + size]
        scores = scorer.score_batch([hole.prompt.input_ids for hole in batch], [hole.task for hole in batch])
        written = _written(scorer.target, [hole.prompt for hole in batch], scores)
        for hole, ids, score in zip(batch, written, scores, strict=True):
            completion = "".join(token_texts(scorer.target.tokenizer, ids))
            scored.append(HoleScore(hole, completion, ids == list(hole.prompt.true_ids), score))
    return scored


def _written(target: Target, prompts: Sequence[Prompt], scores: Sequence[Score]) -> list[list[int]]:
    """What greedy decoding writes of each hole, up to the first wrong token.

    A hole whose first token is right and not its only one takes a pass of its own.
    """
    written = [[score.predicted_id] for score in scores]
    going_on = [
        number
        for number, prompt in enumerate(prompts)
        if len(prompt.true_ids) > 1 and prompt.next_token_id == scores[number].predicted_id
    ]
    if going_on:
        some = [prompts[number] for number in going_on]
        completions = Completions.of([each.input_ids for each in some], [each.true_ids for each in some])
        predicted = target.logits_at(completions.input_ids, completions.positions).argmax(-1).tolist()
        for number, prompt, ids in zip(going_on, some, predicted, strict=True):
            right = list(takewhile(lambda pair: pair[0] == pair[1], zip(ids, prompt.true_ids, strict=False)))
            written[number] = ids[: min(len(right) + 1, len(prompt.true_ids))]
    return written
