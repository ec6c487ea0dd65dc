"""What heads do, know and look like: causal effects beside roles, learned gates and SHAP importance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from scipy.stats import rankdata

from apmae.common.seeding import derive_seed
from apmae.effects.rankings import head_rankings
from apmae.figures import style
from apmae.figures.head_maps import task_maps
from apmae.figures.patterns import SCALINGS
from apmae.figures.wording import SHAP_OF_KNOWN_HEADS, head_name, readable
from apmae.report.data import TOP_HEADS, ReportData
from apmae.report.gallery import choose_tiles, exemplar_table
from apmae.report.section import Drawing, Section
from apmae.report.sections.gallery import COLUMNS, gallery, patterns_of_tiles

Row = dict[str, Any]

HEAD = ["layer", "head"]
SHOWN_ROLES = 2
RESAMPLES = 1_000


class Agreement(NamedTuple):
    """Rank correlation of a ranking of heads with the size of their effects, and its 95% interval."""

    value: float
    low: float
    high: float


def section(data: ReportData) -> Section | None:
    """Effects of heads; None for a study without."""
    if data.effects.is_empty():
        return None
    effects = _held_out(data)
    top = {task: head_rows(data, task) for task in effects["task"].unique(maintain_order=True)}
    importance = data.in_task_order(data.study.importance)
    rankings = head_rankings(_held_out(data), importance, data.learned_gates)
    agreement = [(task, [_agreement(data, task, ranking) for ranking in rankings.values()]) for task in top]
    marker = data.study.marker("effects")
    assert marker is not None, "effects come from their stage"
    content = {
        "top": top,
        "known_heads": SHAP_OF_KNOWN_HEADS,
        "rankings": [readable(name) for name in rankings],
        "agreement": agreement,
        "means": "mean" in effects["operation"],
        "gates": not data.learned_gates.is_empty(),
        "all_ablated": bool((effects["inclusion"] == 1).all()),
        "ablated": int((effects.unique(["task", *HEAD])["inclusion"] > 0).sum() / len(top)),
        "heads": effects.select(HEAD).n_unique(),
        "seconds": {name: marker["counts"][f"{name}_seconds"] for name in ("exact", "attribution")},
    }
    figures = [_map(data), *_telling_patterns(data, top)]
    return Section("heads", "What heads do, know and look like", tuple(figures), content)


def head_rows(data: ReportData, task: str) -> list[Row]:
    """The heads of largest effect on a task's training prompts, with all that is known of each."""
    leading = leading_heads(data.effects.filter(task=task), TOP_HEADS)
    effects = _held_out(data).filter(task=task)
    correct, mean = _of(effects, "zero", "correct"), _of(effects, "mean", "log_probability")
    gates = data.learned_gates.filter(task=task)
    importance = data.importance.filter(task=task).with_columns(
        rank=pl.col("max_difference").rank("min", descending=True)
    )
    return [
        {
            "layer": row["layer"],
            "head": row["head"],
            "effect": row,
            "correct": _row(correct, row),
            "mean": _row(mean, row),
            "roles": role_words(data.roles, row["layer"], row["head"]),
            "verdict": (_row(gates, row) or {}).get("verdict"),
            "shap_rank": (_row(importance, row) or {}).get("rank"),
        }
        for row in leading.iter_rows(named=True)
    ]


def leading_heads(effects: pl.DataFrame, count: int) -> pl.DataFrame:
    """The heads whose zero ablation changes the true token's log probability most on training prompts.

    Args:
        effects: `EFFECTS` of one task.

    Returns:
        Their effects on held-out prompts, which had no say.
    """
    train, held_out = (
        _of(effects.filter((pl.col("split") == "train") == chooses), "zero", "log_probability")
        for chooses in (True, False)
    )
    order = train.sort(pl.col("value").abs(), descending=True, maintain_order=True).select(HEAD)
    return order.join(held_out, on=HEAD, maintain_order="left").select(effects.columns).head(count)


def role_words(roles: pl.DataFrame, layer: int, head: int) -> str:
    """What a head looks at most, in excess of uniform attention: `previous token 0.98, induction 0.12`."""
    found = roles.filter(pl.col("difference_low") > 0, text="code", layer=layer, head=head)
    largest = found.sort("difference", descending=True, maintain_order=True).head(SHOWN_ROLES)
    return ", ".join(
        f"{readable(role)} {value:.2f}" for role, value in largest.select("role", "value").rows()
    )


def rank_agreement(first: np.ndarray, second: np.ndarray, seed: int) -> Agreement:
    """Spearman's rank correlation with a bootstrap interval over heads; NaN for fewer than three heads."""
    if len(first) < 3:
        return Agreement(np.nan, np.nan, np.nan)
    ranks = np.stack([rankdata(first), rankdata(second)])
    generator = np.random.default_rng(seed)
    drawn = generator.integers(ranks.shape[1], size=(RESAMPLES, ranks.shape[1]))
    with np.errstate(invalid="ignore"):
        value = np.corrcoef(ranks)[0, 1]
        resampled = [np.corrcoef(ranks[:, rows])[0, 1] for rows in drawn]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Agreement(float(value), float(low), float(high))


def _held_out(data: ReportData) -> pl.DataFrame:
    return data.effects.filter(split=data.config.measured_split)


def _of(effects: pl.DataFrame, operation: str, outcome: str) -> pl.DataFrame:
    """Effects by one operation, at the base rate where it is known; exact ones where there are any."""
    found = effects.filter(operation=operation, outcome=outcome)
    for column, preferred in (("weighting", "base_rate"), ("method", "exact")):
        if preferred in found[column]:
            found = found.filter(pl.col(column) == preferred)
    return found


def _row(table: pl.DataFrame, head: Row) -> Row | None:
    found = table.filter(layer=head["layer"], head=head["head"])
    return found.row(0, named=True) if found.height else None


def _agreement(data: ReportData, task: str, ranking: pl.DataFrame) -> Agreement:
    exact = _held_out(data).filter(task=task, method="exact", operation="zero")
    both = _of(exact, "zero", "log_probability").join(ranking.filter(task=task), on=HEAD).drop_nulls("score")
    seed = derive_seed(data.config.seed, "effects", "agreement", task)
    return rank_agreement(both["value"].abs().to_numpy(), both["score"].to_numpy(), seed)


def _map(data: ReportData) -> Drawing:
    effects = _held_out(data)
    tables = [
        _of(effects.filter(task=task), "zero", "log_probability")
        for task in effects["task"].unique(maintain_order=True)
    ]
    return Drawing(
        "effects",
        lambda: effect_maps(pl.concat(tables), data.shape),
        alt="Heat maps of the effect of ablating each head, one for each task.",
        caption="One cell per head: the change of the true token's log probability when the head's output is "
        "set to zero at every position, mean over held-out prompts, weighted to the base rate. Red: the "
        "completion suffers without the head. Blue: it gains. Grey heads were not ablated. Not in "
        "the paper.",
        legible_pixels=760,
    )


def _telling_patterns(data: ReportData, top: dict[str, list[Row]]) -> list[Drawing]:
    """The leading head of each task: the pattern whose cluster departs most from all prompts."""
    leading = pl.DataFrame(
        [
            (rows[0]["layer"], rows[0]["head"], abs(rows[0]["effect"]["value"]))
            for rows in top.values()
            if rows
        ],
        schema={"layer": pl.Int16, "head": pl.Int16, "max_difference": pl.Float64},
        orient="row",
    )
    exemplars = exemplar_table(data.study.exemplars).join(
        leading.cast({"layer": pl.Int32, "head": pl.Int32}), on=HEAD, how="semi", maintain_order="left"
    )
    tiles = choose_tiles(exemplars, leading, data.clusters, data.prompts, leading.select(HEAD).n_unique())
    if not tiles:
        return []
    leads = {
        head_name(rows[0]["layer"], rows[0]["head"]): readable(task) for task, rows in top.items() if rows
    }
    names = [
        f"{head_name(tile.layer, tile.head)} ({leads[head_name(tile.layer, tile.head)]})" for tile in tiles
    ]
    patterns = patterns_of_tiles(data.study.exemplars, tiles)
    return [
        Drawing(
            "leading_heads",
            lambda: gallery(patterns, names, COLUMNS, "What the heads of largest effect look like"),
            alt="Attention patterns: " + "; ".join(names) + ".",
            caption="The head of largest effect on each task: a real pattern near the middle of the cluster "
            "whose fraction of correct completions departs most from that of all prompts; "
            f"{SCALINGS[data.config.encoder.scaling]}. Not in the paper.",
        )
    ]


@style.styled
def effect_maps(effects: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Effect of zero ablation on the true token's log probability, a map per task."""
    figure, _ = task_maps(effects, "value", shape, "Change of the log\nprobability (nats)")
    style.title(figure, "What the heads do")
    return figure
