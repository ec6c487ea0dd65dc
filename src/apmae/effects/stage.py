"""The stage `effects`: what each head does to the completions of each task.

The attribution of a task, and the ablations of a few of its heads, are files of the work directory. A killed
stage loses the one in flight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from apmae.common.atomic import saved_parquet
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.effects.ablation import exact_effects, heads_to_ablate
from apmae.effects.attribution import attributed_effects
from apmae.effects.summary import Sample, agreement, summarised
from apmae.intervention.conditions import held_out_prompts, tuning_prompts
from apmae.intervention.means import saved_means
from apmae.intervention.operations import operation_of
from apmae.pipeline import Context
from apmae.study import Study
from apmae.study.artifacts import EFFECT_AGREEMENT, EFFECTS
from apmae.target_model import Head, Target

STAGE = "effects"
BLOCK_HEADS = 16
ATTRIBUTION = "attribution"


@dataclass(frozen=True)
class Cell:
    """A task's prompts of one split, and the operations that its heads are ablated with."""

    sample: Sample
    operations: Sequence[str]

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.sample.task}-{self.sample.split}"


@dataclass(frozen=True)
class Block:
    """Heads that are ablated one by one, with one operation."""

    cell: Cell
    operation: str
    number: int
    heads: Sequence[Head]

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.cell.name}-{self.operation}-{self.number:03d}"


@dataclass(frozen=True)
class Measurement:
    """What the parts of the stage share."""

    study: Study
    target: Target
    work: Path
    means: Tensor | None

    def attribute(self, cell: Cell) -> pl.DataFrame:
        """Attributed effect of each head on each prompt."""
        config, prompts = self.study.config.effects, cell.sample.prompts

        def measure() -> pl.DataFrame:
            effects = attributed_effects(
                self.target, prompts, config.partitions, config.points, self.study.config.seed
            )
            layers, heads = np.array(self.target.heads, dtype=np.int16).T
            return pl.DataFrame(
                {
                    "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), len(layers)),
                    "layer": np.tile(layers, prompts.height),
                    "head": np.tile(heads, prompts.height),
                    "log_probability": effects.flatten().double().numpy(),
                }
            )

        return _timed(self.work / f"{cell.name}-{ATTRIBUTION}.parquet", measure)

    def ablate(self, block: Block) -> pl.DataFrame:
        """Exact effect of each head of a block on each prompt."""
        return _timed(
            self.work / f"{block.name}.parquet",
            lambda: exact_effects(
                self.target,
                block.heads,
                operation_of(block.operation, 0.0),
                block.cell.sample.prompts,
                self.means,
                self.study.config.target.batch_size,
            ),
        )

    def inclusion(self, cell: Cell, attribution: pl.DataFrame | None) -> NDArray[np.float64]:
        """(L * H,) probability with which each head of a task was to be ablated; 0 for heads that are not.

        Training prompts decide, so that no head is shown because it stood out on held-out prompts.
        """
        if attribution is None:
            return np.ones(len(self.target.heads))
        generator = numpy_generator(self.study.config.seed, STAGE, "ablated", cell.sample.task)
        return heads_to_ablate(_means_of(attribution), self.study.config.effects.exact_heads, generator)


def run(context: Context) -> dict[str, object]:
    """Write `effects.parquet` and `effect_agreement.parquet`; returns counts for the stage's marker."""
    study, config = context.study, context.study.config.effects
    cells = [cell for task in study.config.prompts.tasks for cell in _cells(study, task)]
    if not cells:
        study.write(EFFECTS, EFFECTS.of_rows())
        study.write(EFFECT_AGREEMENT, EFFECT_AGREEMENT.of_rows())
        return {"heads": 0}
    target, notes = context.target, []
    work = study.work_directory(STAGE, context.key)
    means = None
    if "mean" in config.operations:
        tuning = pl.concat(cell.sample.prompts for cell in cells if cell.sample.split == "train")
        means = saved_means(work / "means.safetensors", target, tuning, study.config.target.batch_size)
    measurement = Measurement(study, target, work, means)
    attributed: dict[str, pl.DataFrame] = {}
    if target.has_gradients:
        for cell in context.progress(cells, "attribution"):
            attributed[cell.name] = measurement.attribute(cell)
    else:
        notes.append(f"{target.name} gives no gradients: all heads are ablated, none is attributed")
    of_task = {
        cell.sample.task: measurement.inclusion(cell, attributed.get(cell.name))
        for cell in cells
        if cell.sample.split == "train"
    }
    inclusion = {cell.name: of_task[cell.sample.task] for cell in cells}
    blocks = [block for cell in cells for block in _blocks(cell, inclusion[cell.name], target)]
    ablated: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for block in context.progress(blocks, "ablations"):
        ablated.setdefault((block.cell.name, block.operation), []).append(measurement.ablate(block))
    exact = {key: pl.concat(tables) for key, tables in ablated.items()}
    summaries = [
        _summaries(cell, exact, attributed.get(cell.name), inclusion[cell.name], target) for cell in cells
    ]
    study.write(EFFECTS, pl.concat(summaries))
    study.write(
        EFFECT_AGREEMENT,
        EFFECT_AGREEMENT.of_rows(
            _agreement(cell, exact, attributed[cell.name], inclusion[cell.name])
            for cell in cells
            if cell.name in attributed
        ),
    )
    return {
        "heads": len(target.heads),
        "ablated": max(int((values > 0).sum()) for values in inclusion.values()),
        "exact_seconds": _seconds(exact.values()),
        "attribution_seconds": _seconds(attributed.values()),
        "notes": notes,
    }


def _cells(study: Study, task: str) -> Iterator[Cell]:
    """A task's training prompts and held-out prompts; none for a task without both outcomes in training."""
    config, count = study.config, study.config.effects.prompts_per_outcome
    train = tuning_prompts(study.study_prompts, task, count, config.seed)
    held_out = held_out_prompts(study.study_prompts, task, config.measured_split, count)
    if train.is_empty() or held_out.is_empty():
        return
    rate = study.tasks.filter(task=task)["base_rate"].item()
    seed = derive_seed(config.seed, STAGE, "bootstrap")
    first = config.effects.operations[:1]
    yield Cell(Sample(task, "train", train, rate, seed), first)
    yield Cell(Sample(task, config.measured_split, held_out, rate, seed), config.effects.operations)


def _blocks(cell: Cell, inclusion: NDArray[np.float64], target: Target) -> Iterator[Block]:
    heads = [target.heads[number] for number in np.flatnonzero(inclusion)]
    for operation in cell.operations:
        for number, start in enumerate(range(0, len(heads), BLOCK_HEADS)):
            yield Block(cell, operation, number, heads[start : start + BLOCK_HEADS])


def _summaries(
    cell: Cell,
    exact: dict[tuple[str, str], pl.DataFrame],
    attribution: pl.DataFrame | None,
    inclusion: NDArray[np.float64],
    target: Target,
) -> pl.DataFrame:
    parts = [EFFECTS.of_rows()]
    for operation in cell.operations:
        if (cell.name, operation) in exact:
            effects = exact[cell.name, operation]
            parts.append(summarised(cell.sample, effects, operation, "exact", inclusion, target.n_heads))
    if attribution is not None:
        parts.append(summarised(cell.sample, attribution, "zero", ATTRIBUTION, inclusion, target.n_heads))
    return pl.concat(parts)


def _agreement(
    cell: Cell,
    exact: dict[tuple[str, str], pl.DataFrame],
    attribution: pl.DataFrame,
    inclusion: NDArray[np.float64],
) -> tuple[object, ...]:
    """A row of `EFFECT_AGREEMENT`."""
    ablated = np.flatnonzero(inclusion)
    zeroed = exact.get((cell.name, "zero"))
    correlations = (np.nan, np.nan)
    if zeroed is not None:
        correlations = agreement(_means_of(attribution)[ablated], _means_of(zeroed), inclusion[ablated])
    known = [None if np.isnan(value) else value for value in correlations]
    return (cell.sample.task, cell.sample.split, len(ablated), *known)


def _means_of(effects: pl.DataFrame) -> NDArray[np.float64]:
    """(heads,) mean effect on the log probability, by layer, then head."""
    means = effects.group_by("layer", "head").agg(pl.col("log_probability").mean()).sort("layer", "head")
    return means["log_probability"].to_numpy()


def _seconds(tables: Iterable[pl.DataFrame]) -> float:
    """What measuring the parts of some tables took."""
    return round(sum(float(table.unique("seconds")["seconds"].sum()) for table in tables), 1)


def _timed(path: Path, measure: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """A measured table with the `seconds` it took; from its file where it is there."""

    def make() -> pl.DataFrame:
        started = time.monotonic()
        return measure().with_columns(seconds=pl.lit(time.monotonic() - started))

    return saved_parquet(path, make)
