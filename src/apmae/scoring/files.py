"""The holes of a source file, as a study would mine them, and their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, silent
from apmae.common.seeding import numpy_generator
from apmae.corpus.files import read_source
from apmae.languages import language_named
from apmae.prompts import Document, Prompt, PromptFormatter, Skip, Span, find_spans, random_spans
from apmae.prompts.tokenization import token_texts
from apmae.scoring.scorer import Score, Scorer
from apmae.study.config import StudyConfig


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
        completion: text of the predicted token.
        correct: whether it is the first token of what stands there.
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
    document = formatter.tokenize(source)
    spans = find_spans(source, config.corpus.language, [task for task in tasks if task != "random"])
    if "random" in tasks:
        spans["random"] = _random_spans(document, config.seed, path.name, limit)
    found: list[tuple[Span, Prompt]] = []
    for task in tasks:
        prompts = [(span, formatter.prompt(document, span)) for span in spans[task]]
        made = [(span, prompt) for span, prompt in prompts if not isinstance(prompt, Skip)]
        found += [made[number * len(made) // limit] for number in range(limit)] if len(made) > limit else made
    if not found:
        raise ApmaeError(
            f"{path} has no hole of {', '.join(tasks)} with the {formatter.length_tokens} tokens "
            "around it that a prompt of this study needs; name a longer file"
        )
    return [_placed(source, *pair) for pair in sorted(found, key=lambda pair: pair[0].start)]


def _read(path: Path, config: StudyConfig) -> str:
    language = language_named(config.corpus.language)
    if not path.name.endswith(language.suffixes):
        raise ApmaeError(f"{path} is no {language.file_kind} file, and the study is of {language.name}")
    if not language.is_source(path.name):
        raise ApmaeError(f"{path} is a file of declarations, which studies leave out: name one with code")
    return read_source(path)


def _random_spans(document: Document, seed: int, name: str, count: int) -> list[Span]:
    """Different holes of the task `random`, drawn for the file of this name."""
    generator = numpy_generator(seed, "score", "random", name)
    return list(islice(dict.fromkeys(random_spans(document, count, generator)), count))


def _placed(source: str, span: Span, prompt: Prompt) -> FileHole:
    line_start = source.rfind("\n", 0, span.start) + 1
    line = source.count("\n", 0, span.start) + 1
    text = source[span.start : span.end]
    return FileHole(span.task, line, span.start - line_start + 1, text, prompt)


def _score_holes(scorer: Scorer, holes: list[FileHole], progress: Progress, name: str) -> list[HoleScore]:
    size = scorer.study.config.target.batch_size
    scored: list[HoleScore] = []
    for start in progress(range(0, len(holes), size), name):
        batch = holes[start : start + size]
        scores = scorer.score_batch([hole.prompt.input_ids for hole in batch], [hole.task for hole in batch])
        scored += [_compared(scorer, hole, score) for hole, score in zip(batch, scores, strict=True)]
    return scored


def _compared(scorer: Scorer, hole: FileHole, score: Score) -> HoleScore:
    (completion,) = token_texts(scorer.target.tokenizer, [score.predicted_id])
    return HoleScore(hole, completion, score.predicted_id == hole.prompt.next_token_id, score)
