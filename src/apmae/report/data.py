"""A finished study's tables, in the order of its tasks, and values that several sections share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.clustering import PatternSource
from apmae.intervention.resampling import Resampling
from apmae.prediction.features import CONFIDENCE, STRONG
from apmae.report import summaries
from apmae.report.chosen import chosen_effects
from apmae.study import Study
from apmae.study.config import StudyConfig

CLUSTERS = "clusters"
TOP_HEADS = 5


@dataclass(frozen=True)
class ReportData:
    """Data of the sections.

    Attributes:
        reconstructions: patterns that the encoder reconstructed.
        key: identifies the inputs of the report.
    """

    study: Study
    reconstructions: list[Reconstruction]
    key: str
    patterns_of: PatternSource | None = None
    """Makes patterns of study prompts, scaled as the encoder sees them; None without a target."""

    @property
    def config(self) -> StudyConfig:
        """The study's config."""
        return self.study.config

    @cached_property
    def prompts(self) -> pl.DataFrame:
        """The analysed study prompts."""
        return self.study.analysed_prompts

    @cached_property
    def clusters(self) -> pl.DataFrame:
        """Cluster of every head on every analysed prompt."""
        return self.study.clusters.join(self.prompts, on="prompt_id", how="semi", maintain_order="left")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of layers of the target, and of heads per layer."""
        return summaries.head_shape(self.clusters)

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """`METRICS`."""
        return self.in_task_order(self.study.metrics)

    @cached_property
    def held_out(self) -> pl.DataFrame:
        """`summaries.metrics_table` of the held-out protocol."""
        return summaries.metrics_table(self.metrics, "held_out")

    @cached_property
    def importance_of(self) -> dict[str, pl.DataFrame]:
        """`IMPORTANCE` by feature set."""
        grouped = self.in_task_order(self.study.importance).group_by("features", maintain_order=True)
        return {str(name): rows for (name,), rows in grouped}

    @cached_property
    def importance(self) -> pl.DataFrame:
        """`IMPORTANCE` of the cluster models."""
        return self.importance_of.get(CLUSTERS, self.study.importance.clear())

    @cached_property
    def top_heads(self) -> pl.DataFrame:
        """The most important heads of every task, by the cluster models."""
        return summaries.top_heads(self.importance, TOP_HEADS)

    @cached_property
    def effects(self) -> pl.DataFrame:
        """`EFFECTS`."""
        return self.in_task_order(self.study.effects)

    @cached_property
    def roles(self) -> pl.DataFrame:
        """`ROLES`."""
        return self.study.roles

    @cached_property
    def learned_gates(self) -> pl.DataFrame:
        """`LEARNED_GATES`."""
        return self.in_task_order(self.study.learned_gates)

    @cached_property
    def interventions(self) -> pl.DataFrame:
        """`INTERVENTIONS`."""
        return self.in_task_order(self.study.interventions)

    @cached_property
    def resampling(self) -> Resampling:
        """How intervals of net changes are made."""
        return Resampling.of(self.study)

    @cached_property
    def chosen(self) -> pl.DataFrame:
        """`chosen.chosen_effects`."""
        return chosen_effects(self.interventions, self.study.choices, self.study.tasks, self.resampling)

    @property
    def feature_sets(self) -> list[str]:
        """The feature sets of the study, behind confidence and all that needs no attention."""
        return list(dict.fromkeys((CONFIDENCE, STRONG, *self.config.prediction.features)))

    def in_task_order(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table with its tasks in the config's order. Other tasks come last."""
        tasks = self.config.prompts.tasks
        order = pl.DataFrame(
            {"task": list(tasks), "order": range(len(tasks))}, schema_overrides={"task": pl.String}
        )
        return (
            table.join(order, on="task", how="left", maintain_order="left")
            .sort("order", maintain_order=True, nulls_last=True)
            .drop("order")
        )


def by_task(table: pl.DataFrame) -> dict[str, list[dict[str, object]]]:
    """The rows of each task."""
    groups: dict[str, list[dict[str, object]]] = {}
    for row in table.iter_rows(named=True):
        groups.setdefault(row["task"], []).append(row)
    return groups
