"""Net changes with 95% intervals: a bootstrap over groups, smoothed so that no interval has zero width.

Prompts of one group (a package, a project) are not independent, so whole groups are resampled, as for
predictions. A plain bootstrap knows no change that it has not seen. Its interval is a point if no prompt
changed. After four losses and no gain it excludes zero, where an exact McNemar test has p = 0.125. So two
pseudo-prompts, one gained and one lost, each a group of its own, are resampled with the others. The adjusted
Wald interval of Bonett and Price (2012, J. Educational and Behavioral Statistics 37, 479-488) adds the same
two. Without any change in n prompts the bounds are about 3 / (n + 2) from zero: the rule of three (Hanley and
Lippman-Hand 1983, JAMA 249, 1743-1745). Only the intervals see the pseudo-prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.seeding import derive_seed
from apmae.prediction.measurement import interval, resampled_weights
from apmae.study import Study

Values = NDArray[np.float64]


class PseudoPrompt(NamedTuple):
    """A pseudo-prompt: its stratum, and how it changes."""

    stratum: int
    change: float


@dataclass(frozen=True)
class Resampling:
    """How a study's prompts are resampled.

    Attributes:
        prompts: `prompt_id`, `group` and `correct`, the outcome that a prompt was mined with.
        seed: of the bootstrap.
    """

    prompts: pl.DataFrame
    seed: int

    @classmethod
    def of(cls, study: Study) -> Resampling:
        """The resampling of a study's prompts."""
        prompts = study.study_prompts.select("prompt_id", "group", "correct")
        return cls(prompts, derive_seed(study.config.seed, "interventions", "bootstrap"))

    def mean_changes(
        self, per_prompt: pl.DataFrame, by: Sequence[str], change: str, name: str
    ) -> pl.DataFrame:
        """The mean of a column of changes, with its interval.

        Args:
            per_prompt: `prompt_id`, the columns of `by`, and `change` in [-1, 1], or null.

        Returns:
            The columns of `by`, `name`, `{name}_low` and `{name}_high`; no row where all changes are null.
        """
        pseudo = (PseudoPrompt(0, 1.0), PseudoPrompt(0, -1.0))
        found = []
        for key, rows in self._partitions(per_prompt, by, change):
            stratum = np.zeros(rows.height, dtype=np.int64)
            found.append((*key, *self._interval(rows, change, stratum, np.ones(1), pseudo)))
        return _table(found, per_prompt, by, name)

    def base_rate_changes(
        self, per_prompt: pl.DataFrame, by: Sequence[str], change: str, name: str
    ) -> pl.DataFrame:
        """The mean change at the tasks' base rates, with its interval; of several tasks the mean over tasks.

        The pseudo-prompts are one lost among the correct prompts and one gained among the incorrect ones of
        each task.

        Args:
            per_prompt: also `task`, and its `base_rate`, or null.

        Returns:
            As `mean_changes`; no row where no base rate is known.
        """
        found = []
        for key, rows in self._partitions(per_prompt.drop_nulls("base_rate"), by, change):
            task = rows["task"].rank("dense").to_numpy().astype(np.int64) - 1
            rates = (
                rows.group_by("task").agg(pl.col("base_rate").first()).sort("task")["base_rate"].to_numpy()
            )
            stratum = 2 * task + rows["correct"].to_numpy()
            weights = np.column_stack([1 - rates, rates]).ravel() / len(rates)
            pseudo = [PseudoPrompt(place, -1.0 if place % 2 else 1.0) for place in range(len(weights))]
            found.append((*key, *self._interval(rows, change, stratum, weights, pseudo)))
        return _table(found, per_prompt, by, name)

    def _partitions(
        self, per_prompt: pl.DataFrame, by: Sequence[str], change: str
    ) -> Iterator[tuple[tuple[object, ...], pl.DataFrame]]:
        known = per_prompt.drop_nulls(change).join(self.prompts, on="prompt_id", maintain_order="left")
        return iter(known.group_by(by, maintain_order=True))

    def _interval(
        self,
        rows: pl.DataFrame,
        change: str,
        stratum: NDArray[np.int64],
        weights: Values,
        pseudo: Sequence[PseudoPrompt],
    ) -> tuple[float, float, float]:
        """Sum over strata of weight times mean change: value and interval, see `stratified_means`."""
        values, groups = rows[change].to_numpy().astype(np.float64)[:, None], rows["group"]
        found = stratified_means(values, groups, stratum, weights, pseudo, self.seed)[:, 0]
        return float(found[0]), float(found[1]), float(found[2])


def stratified_means(
    values_NC: Values,
    groups: pl.Series,
    stratum_N: NDArray[np.int64],
    weights_S: Values,
    pseudo: Sequence[PseudoPrompt],
    seed: int,
) -> Values:
    """Sum over strata of weight times mean, of each column, with 95% intervals from a bootstrap over groups.

    Args:
        values_NC: columns of prompts.
        groups: of the prompts.
        stratum_N: number of each prompt's stratum.
        weights_S: of the strata; sum to 1.
        pseudo: prompts that the resamples draw too; none for values that no change bounds.

    Returns:
        (3, C): value, low and high; NaN where a stratum of some weight has no prompt.
    """
    numbers = groups.rank("dense").to_numpy().astype(np.int64) - 1
    n_groups, strata, columns = int(numbers.max()) + 1 + len(pseudo), len(weights_S), values_NC.shape[1]
    sums, counts = np.zeros((n_groups, strata, columns)), np.zeros((n_groups, strata))
    np.add.at(sums, (numbers, stratum_N), values_NC)
    np.add.at(counts, (numbers, stratum_N), 1)
    with np.errstate(invalid="ignore"):
        value = weights_S @ (sums.sum(0) / counts.sum(0)[:, None])
        for place, prompt in enumerate(pseudo, start=-len(pseudo)):
            sums[place, prompt.stratum], counts[place, prompt.stratum] = prompt.change, 1
        drawn = _drawn(n_groups, seed)
        totals = (drawn @ sums.reshape(n_groups, -1)).reshape(-1, strata, columns)
        resampled = np.einsum("s,rsc->rc", weights_S, totals / (drawn @ counts)[:, :, None])
    every = np.concatenate([value[None], resampled])
    return np.array([interval(column) for column in every.T]).T.reshape(3, columns)


@lru_cache(maxsize=64)
def _drawn(groups: int, seed: int) -> Values:
    """(resamples, groups): how often each group is drawn."""
    return resampled_weights(np.arange(groups), np.random.default_rng(seed))


def _table(
    rows: Sequence[tuple[object, ...]], per_prompt: pl.DataFrame, by: Sequence[str], name: str
) -> pl.DataFrame:
    values = (name, f"{name}_low", f"{name}_high")
    schema = {column: per_prompt.schema[column] for column in by} | dict.fromkeys(values, pl.Float64())
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col(values).fill_nan(None))
