"""One classifier per way to read the patterns, number of labels and seed, read on the held-out prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from apmae.autoencoder import APMAEModel
from apmae.common.atomic import read_parquet
from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, console
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.common.workers import compute_parts
from apmae.encoding.encoders import load_encoder
from apmae.prediction.protocols import group_numbers
from apmae.scoring.scorer import studied_target
from apmae.study import Study
from apmae.study.artifacts import COPY_ATTENTION, STATISTICS, TOP_LOG_PROBS, token_ids
from apmae.target_model import Target
from apmae.token_study import models
from apmae.token_study.models import Inputs
from apmae.token_study.predictor import key_of_classifiers
from apmae.vocabulary import TokenModel
from experiments.fine_tuning import fitting
from experiments.fine_tuning.network import READOUTS, PatternClassifier, Patterns

FINE_TUNED = "fine-tuned"
FROM_SCRATCH = "from scratch"
FROZEN = "frozen"
CONFIDENCE = "confidence"

OF_HEADS: Mapping[str, tuple[str, ...]] = {
    STATISTICS: (STATISTICS,),
    COPY_ATTENTION: (COPY_ATTENTION,),
    FROZEN: READOUTS,
}
"""Arrays of encodings.zarr that a classifier of heads as tokens sees side by side."""

WAYS: Mapping[str, TokenModel] = {
    CONFIDENCE: "mlp",
    **dict.fromkeys(OF_HEADS, "heads"),
    FROM_SCRATCH: "heads",
    FINE_TUNED: "heads",
}
"""What correctness is told from, and the classifier that does it."""


class Cell(NamedTuple):
    """A classifier.

    Attributes:
        labels: prompts that it is fitted on; 0: all of the training groups.
    """

    way: str
    labels: int
    seed: int


def cells_of(labels: Sequence[int], seeds: int) -> Iterator[Cell]:
    """Every cell of the tables, those that take seconds first."""
    return (Cell(*each) for each in product(WAYS, labels, range(seeds)))


def prompts_of(study: Study, split: str) -> pl.DataFrame:
    """The study's prompts of one split.

    Raises:
        ApmaeError: the stage `encode` is not done, or there are no such prompts.
    """
    study.require_finished("encode")
    prompts: pl.DataFrame = study.study_prompts.filter(split=split)
    if prompts.is_empty():
        raise ApmaeError(f"{study.directory} has no prompts of the split {split}")
    return prompts


def labelled_prompts(study: Study, labels: int, seed: int) -> pl.DataFrame:
    """The first so many training prompts of a seeded order; all for 0 labels."""
    prompts = prompts_of(study, "train")
    order = numpy_generator(seed, "fine-tuning", "labels").permutation(prompts.height)
    chosen: pl.DataFrame = prompts[order[: labels or prompts.height].tolist()]
    return chosen


def compute(
    study: Study, cells: Sequence[Cell], progress: Progress, processes: int | None
) -> dict[Cell, NDArray[np.float64]]:
    """Log-odds of every held-out prompt by cell, (test prompts,) each."""
    prompts_of(study, "test")
    marker = study.marker("encode")
    assert marker is not None
    work = study.work_directory("fine_tuning", key_of_classifiers(marker["key"]))
    names = {cell: "-".join(map(str, cell)).replace(" ", "-") for cell in cells}
    paths = {cell: work / f"{name}.parquet" for cell, name in names.items()}
    parts = {paths[cell]: (study.directory, cell, work / name) for cell, name in names.items()}
    compute_parts(_predict, parts, progress, "classifiers", processes=processes)
    return {cell: read_parquet(path)["log_odds"].to_numpy() for cell, path in paths.items()}


def _predict(directory: Path, cell: Cell, work: Path) -> pl.DataFrame:
    study = Study.open(directory)
    train, test = labelled_prompts(study, cell.labels, cell.seed), prompts_of(study, "test")
    if cell.way in (FINE_TUNED, FROM_SCRATCH):
        return pl.DataFrame({"log_odds": _by_network(study, cell, train, test, work)})
    classifier = models.fit(
        WAYS[cell.way],
        _inputs(study, cell.way, train),
        train["correct"].to_numpy(),
        np.ones(train.height),
        group_numbers(train),
        cell.seed,
    )
    return pl.DataFrame({"log_odds": models.predict(classifier, _inputs(study, cell.way, test))})


def _inputs(study: Study, way: str, prompts: pl.DataFrame) -> Inputs:
    rows = prompts["prompt_id"].to_numpy()
    arrays = dict(study.encodings.arrays())
    if way == CONFIDENCE:
        known = prompts.select("max_probability", "margin", "entropy").to_numpy()
        return Inputs(np.hstack([known, np.asarray(arrays[TOP_LOG_PROBS])[rows]]))
    of_heads = [np.asarray(arrays[name])[:, rows].swapaxes(0, 1) for name in OF_HEADS[way]]
    return Inputs(np.empty((len(rows), 0), np.float32), np.concatenate(of_heads, -1))


def _by_network(
    study: Study, cell: Cell, train: pl.DataFrame, test: pl.DataFrame, work: Path
) -> NDArray[np.float64]:
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(cell.seed, "fine-tuning", "weights"))
        model = load_encoder(study, torch.device("cpu"))
        if cell.way == FROM_SCRATCH:
            model = APMAEModel(model.config)
        patterns = Patterns(_target(study.directory), model, token_ids(train))
        network = PatternClassifier(patterns)
    labelled = fitting.Labelled(patterns, train["correct"].to_numpy(), group_numbers(train))
    work.mkdir(parents=True, exist_ok=True)
    fitting.fit(network, labelled, cell.seed, work, console)
    return fitting.predict(network, Patterns(patterns.target, model, token_ids(test)))


@lru_cache(maxsize=1)
def _target(directory: Path) -> Target:
    return studied_target(Study.open(directory))
