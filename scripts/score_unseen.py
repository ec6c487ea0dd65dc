"""Score files of groups that a study has no prompt of, and say how well the scores hold.

python scripts/score_unseen.py runs/smollm2-java --files 24 --holes 4

The files are the first ones of their groups in the study's own corpus, long enough for prompts. Holes
are as frequent as in the files, so correct completions are too: nothing is balanced.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import polars as pl
import typer

from apmae.common.command import one_line_errors
from apmae.common.markdown import markdown_table
from apmae.common.progress import console
from apmae.common.seeding import derive_seed
from apmae.corpus import SourceFile, open_corpus
from apmae.languages import language_named
from apmae.prediction.measurement import interval, resampled_weights
from apmae.prediction.metrics import Scored, Values, auroc, brier
from apmae.scoring import Scorer, score_files
from apmae.study import Study

LEAST_CHARACTERS = 8_000
PREDICTIONS = {"the scorer": "probability", "confidence, calibrated likewise": "confidence"}


def main(
    study: Annotated[Path, typer.Argument(metavar="RUN", help="A finished study's directory.")],
    files: Annotated[int, typer.Option(help="Files, each of a group of its own.")] = 24,
    holes: Annotated[int, typer.Option(help="Holes of a task in a file, at most.")] = 4,
) -> None:
    """Print Markdown: every task's holes, and AUROC and Brier score over all of them."""
    scorer = Scorer.load(study)
    scored = score_unseen(scorer, files, holes)
    heading = (
        "task",
        "holes",
        "correct",
        "expected",
        "AUROC of the score",
        "of confidence, calibrated likewise",
    )
    rows = []
    parts = scored.partition_by("task", maintain_order=True)
    for name, part in [(part["task"][0], part) for part in parts] + [("all", scored)]:
        unweighted = np.ones((1, part.height))
        of_sets = [f"{auroc(_scored(part, column), unweighted)[0]:.2f}" for column in PREDICTIONS.values()]
        counts = (part.height, part["correct"].sum(), round(part["probability"].sum()))
        rows.append([name, *map(str, counts), *of_sets])
    print(markdown_table(heading, rows))
    _print_intervals(scored, derive_seed(scorer.study.config.seed, "score unseen", "bootstrap"))


def score_unseen(scorer: Scorer, files: int, holes: int) -> pl.DataFrame:
    """One row per hole: file, task, correct, probability, confidence."""
    rows = []
    with TemporaryDirectory() as directory:
        paths = []
        for number, file in enumerate(islice(unseen_files(scorer.study), files)):
            path = Path(directory, str(number), Path(file.path).name)
            path.parent.mkdir()
            path.write_text(file.text, encoding="utf-8")
            paths.append(path)
        for number, (_, scores) in enumerate(score_files(scorer, paths, limit=holes, progress=console)):
            for one in scores:
                score = one.score
                rows.append((number, one.hole.task, one.correct, score.probability, score.confidence))
    names = ["file", "task", "correct", "probability", "confidence"]
    return pl.DataFrame(rows, schema=names, orient="row").sort("task", maintain_order=True)


def unseen_files(study: Study) -> Iterator[SourceFile]:
    """Files of the study's corpus, the first long one of every group that has no prompt in the study."""
    seen = set(study.prompts["group"])
    language = language_named(study.config.corpus.language)
    for _, file in open_corpus(study.config.corpus, study.config.seed).files():
        if not isinstance(file, SourceFile) or file.group in seen or not language.is_source(file.path):
            continue
        if len(file.text) >= LEAST_CHARACTERS:
            seen.add(file.group)
            yield file


def _print_intervals(scored: pl.DataFrame, seed: int) -> None:
    """Over all holes, 95% by bootstrap over files."""
    resampled = resampled_weights(scored["file"].to_numpy(), np.random.default_rng(seed))
    weights = np.vstack([np.ones(scored.height), resampled])
    print("\n| all holes | AUROC | Brier score |\n|---|---|---|")
    found = {
        name: [metric(_scored(scored, column), weights) for metric in (auroc, brier)]
        for name, column in PREDICTIONS.items()
    }
    mine, other = found.values()
    found["difference"] = [ours - theirs for ours, theirs in zip(mine, other, strict=True)]
    for name, values in found.items():
        print(f"| {name} | {' | '.join(map(_cell, values))} |")


def _scored(table: pl.DataFrame, column: str) -> Scored:
    correct, probability = table["correct"].to_numpy(), table[column].to_numpy()
    return Scored(correct, probability, np.zeros(len(correct), dtype=np.int64))


def _cell(values: Values) -> str:
    value, low, high = interval(values)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
