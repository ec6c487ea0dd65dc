"""Intervals of net changes: whole groups, never of zero width, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from helpers.studies import tiny_study
from scipy.stats import binomtest

from apmae.intervention.resampling import Resampling

Interval = tuple[float, float, float]


def mean_change(changes: list[float], groups: list[int] | None = None) -> Interval:
    """The mean change of prompts, and its interval; every prompt a group of its own by default."""
    table = pl.DataFrame({"prompt_id": range(len(changes)), "task": "eol", "change": changes})
    found = resampling(groups or list(range(len(changes))))
    row = found.mean_changes(table, ["task"], "change", "mean").row(0)
    assert row[0] == "eol"
    return row[1:]


def resampling(groups: list[int], correct: list[bool] | None = None) -> Resampling:
    named = pl.Series(groups).cast(pl.String)
    prompts = {"prompt_id": range(len(groups)), "group": named, "correct": correct or [True] * len(groups)}
    return Resampling(pl.DataFrame(prompts), seed=0)


def changes(gained: int, lost: int, prompts: int) -> list[float]:
    return [1.0] * gained + [-1.0] * lost + [0.0] * (prompts - gained - lost)


@pytest.mark.parametrize("prompts", [1, 16, 100, 2_000])
def test_without_any_change_the_bounds_are_the_rule_of_three(prompts: int) -> None:
    value, low, high = mean_change(changes(0, 0, prompts))
    assert value == 0
    assert low < 0 < high
    if prompts > 1:
        assert -low == pytest.approx(3 / (prompts + 2), rel=0.4)
        assert high == pytest.approx(3 / (prompts + 2), rel=0.4)


@pytest.mark.parametrize("lost", range(1, 12))
def test_losses_alone_exclude_zero_where_an_exact_test_does(lost: int) -> None:
    """McNemar's exact test of the prompts that changed: significant from six losses on."""
    _, _, high = mean_change(changes(0, lost, 200))
    assert (high < 0) == (binomtest(0, lost).pvalue < 0.05)


def test_whole_groups_are_resampled() -> None:
    """Twenty gained prompts that fill two of ten groups say less than twenty over a hundred groups."""
    spread = mean_change(changes(20, 0, 100))
    clumped = mean_change(changes(20, 0, 100), [number // 10 for number in range(100)])
    assert spread[0] == clumped[0] == pytest.approx(0.2)
    assert clumped[2] - clumped[1] > 2 * (spread[2] - spread[1])


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """A tenth of the prompts gained, a fiftieth lost, 40 prompts in 10 groups: a plain bootstrap has 90%."""
    generator = np.random.default_rng(0)
    held = []
    for _ in range(200):
        drawn = generator.choice([1.0, -1.0, 0.0], p=[0.1, 0.02, 0.88], size=40)
        _, low, high = mean_change(drawn.tolist(), [number // 4 for number in range(40)])
        held.append(low <= 0.08 <= high)
    assert np.mean(held) >= 0.94


def test_base_rate_changes_by_hand() -> None:
    """Correct prompts lose one of four, incorrect ones gain one of two; of 80% correct completions."""
    correct = [True] * 4 + [False] * 2
    table = pl.DataFrame(
        {"prompt_id": range(6), "task": "eol", "change": [-1.0, 0, 0, 0, 1, 0], "base_rate": 0.8}
    )
    found = resampling(list(range(6)), correct)
    _, value, low, high = found.base_rate_changes(table, ["task"], "change", "rate").row(0)
    assert value == pytest.approx(-0.8 / 4 + 0.2 / 2)
    assert low < value < high
    still = table.with_columns(change=0.0)
    _, value, low, high = found.base_rate_changes(still, ["task"], "change", "rate").row(0)
    assert (value, low < 0 < high) == (0, True)


def test_the_base_rate_change_of_all_tasks_is_the_mean_over_tasks() -> None:
    correct = [True, False] * 4
    table = pl.DataFrame(
        {
            "prompt_id": range(8),
            "method": "zero",
            "task": ["a"] * 2 + ["b"] * 6,
            "change": [-1.0, 0] + [0, 1.0] * 3,
            "base_rate": [0.9] * 2 + [0.5] * 6,
        }
    )
    found = resampling(list(range(8)), correct).base_rate_changes(table, ["method"], "change", "rate")
    assert found["rate"].item() == pytest.approx((-0.9 + 0.5) / 2)
    unknown = table.with_columns(base_rate=pl.when(task="a").then("base_rate"))
    known = resampling(list(range(8)), correct).base_rate_changes(unknown, ["method"], "change", "rate")
    assert known["rate"].item() == pytest.approx(-0.9)


def test_changes_that_are_not_known_are_left_out() -> None:
    table = pl.DataFrame({"prompt_id": [0, 1], "task": "eol", "change": [1.0, None]})
    assert resampling([0, 1]).mean_changes(table, ["task"], "change", "mean")["mean"].to_list() == [1.0]
    none = table.with_columns(change=pl.lit(None, pl.Float64))
    assert resampling([0, 1]).mean_changes(none, ["task"], "change", "mean").is_empty()


def test_a_studys_draws_come_from_its_seed(tmp_path) -> None:
    first, other = (tiny_study(tmp_path / str(seed), seed=seed) for seed in (1, 2))
    assert Resampling.of(first).seed == Resampling.of(first).seed != Resampling.of(other).seed
