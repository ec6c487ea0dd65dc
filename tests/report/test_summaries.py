from __future__ import annotations

import math

import polars as pl
import pytest
from helpers.finished_study import condition, interventions, metrics, resampling
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from apmae.report import summaries
from apmae.study.artifacts import IMPORTANCE


def effects_of(rows: list[tuple[object, ...]], *, pooled: bool = False) -> pl.DataFrame:
    table = interventions(rows)
    return summaries.intervention_effects(table, resampling(table), pooled=pooled)


def test_net_change_of_four_prompts_by_hand() -> None:
    row = effects_of(condition("eol", "positive", 5, "gglr")).row(0, named=True)
    counts = (row["prompts"], row["incorrect_to_correct"], row["correct_to_incorrect"], row["seeds"])
    assert counts == (4, 2, 1, 1)
    assert row["net_change"] == 0.25
    assert row["low"] < 0 < row["high"]


def test_random_draws_are_averaged_per_prompt_first() -> None:
    # Prompt 0 changes by (+1 + 0) / 2, prompt 1 by (-1 - 1) / 2.
    rows = condition("eol", "random", 2, "gl", seed=0) + condition("eol", "random", 2, "wl", seed=1)
    row = effects_of(rows).row(0, named=True)
    assert (row["prompts"], row["seeds"]) == (2, 2)
    assert (row["incorrect_to_correct"], row["correct_to_incorrect"]) == (0.5, 1.0)
    assert row["net_change"] == pytest.approx(-0.25)


def test_pooled_effect_is_over_the_prompts_of_all_tasks() -> None:
    rows = condition("eol", "positive", 1, "gg") + condition("random", "positive", 1, "lrrrrr", first=2)
    pooled = effects_of(rows, pooled=True)
    row = pooled.row(0, named=True)
    assert pooled.height == 1
    assert "task" not in pooled.columns
    assert row["prompts"] == 8
    assert row["net_change"] == pytest.approx((2 - 1) / 8)


def test_a_pooled_greedy_selection_is_of_at_most_so_many_heads() -> None:
    rows = condition("eol", "greedy", 1, "gw") + condition("eol", "greedy", 2, "gg")
    rows += condition("random", "greedy", 1, "lr", first=2)  # ends after one head
    rows += condition("identifiers", "positive", 1, "ll", first=4)  # finds none
    pooled = effects_of(rows, pooled=True)
    greedy = pooled.filter(selection="greedy").sort("n_heads")
    flips = greedy.select("n_heads", "prompts", "incorrect_to_correct", "correct_to_incorrect").rows()
    assert flips == [(1, 6, 1, 1), (2, 6, 2, 1)]
    assert pooled.filter(selection="positive")["net_change"].to_list() == [-1.0]


def test_outcomes_that_the_identity_condition_changed_are_counted_once_a_prompt() -> None:
    table = interventions(condition("eol", "positive", 1, "glrw") + condition("eol", "neutral", 1, "glww"))
    prompts = pl.DataFrame({"prompt_id": range(5), "correct": [True, True, True, False, None]})
    # Mined as correct: prompt 0, which is incorrect before, and prompt 2, which is so in one of two sweeps.
    assert summaries.identity_changes(table, prompts) == (2, 4)
    assert summaries.identity_changes(table.clear(), prompts) == (0, 0)


def test_no_interventions_give_no_rows() -> None:
    assert effects_of([]).is_empty()


@given(st.lists(st.sampled_from("glrw"), min_size=1, max_size=30))
def test_net_change_is_the_change_in_accuracy(outcomes: list[str]) -> None:
    rows = condition("eol", "positive", 1, "".join(outcomes))
    table = interventions(rows)
    row = effects_of(rows).row(0, named=True)
    change = table["correct_after"].mean() - table["correct_before"].mean()  # type: ignore[operator]
    assert row["net_change"] == pytest.approx(change)
    assert row["low"] <= row["net_change"] <= row["high"]
    assert row["low"] < row["high"]


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_is_scipys(case: tuple[int, int]) -> None:
    expected = binomtest(*case).proportion_ci(method="wilson")
    assert summaries.wilson_interval(*case) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_without_trials_is_nan() -> None:
    assert all(math.isnan(bound) for bound in summaries.wilson_interval(0, 0))


def test_target_accuracy_leaves_noise_without_an_interval() -> None:
    tasks = pl.DataFrame(
        {
            "task": ["eol", "noise"],
            "evaluated": [10, 0],
            "evaluated_correct": [5, 0],
            "base_rate": [0.5, float("nan")],
        }
    )
    rows = summaries.target_accuracy(tasks).rows(named=True)
    assert (rows[0]["low"], rows[0]["high"]) == summaries.wilson_interval(5, 10)
    assert (rows[1]["base_rate"], rows[1]["low"], rows[1]["high"]) == (None, None, None)


def test_metrics_table_puts_metrics_side_by_side_and_marks_the_best() -> None:
    rows = [
        ("eol", "prior", "accuracy", 0.5, 0.5, 0.5),
        ("eol", "prior", "auroc", 0.5, 0.5, 0.5),
        ("eol", "clusters", "accuracy", 0.7, 0.6, 0.8),
        ("eol", "clusters", "auroc", float("nan"), float("nan"), float("nan")),
        ("random", "prior", "accuracy", 0.6, 0.5, 0.7),
        ("random", "clusters", "accuracy", 0.6, 0.5, 0.7),
    ]
    table = summaries.metrics_table(metrics(rows), "held_out")
    columns = ["task", "features", "accuracy", "accuracy_low", "accuracy_high", "accuracy_best"]
    assert table.select(columns).rows() == [
        ("eol", "prior", 0.5, 0.5, 0.5, False),
        ("eol", "clusters", 0.7, 0.6, 0.8, True),
        ("random", "prior", 0.6, 0.5, 0.7, True),
        ("random", "clusters", 0.6, 0.5, 0.7, True),
    ]
    assert table["auroc"].to_list() == [0.5, None, None, None]
    assert table["auroc_best"].to_list() == [True, False, False, False]
    assert table["prompts"].to_list() == [40] * 4


def test_metrics_table_of_another_protocol_is_empty() -> None:
    table = summaries.metrics_table(metrics([("eol", "prior", "auroc", 0.5, 0.5, 0.5)]), "cross_validation")
    assert table.is_empty()
    differences = ("", "_low", "_high", "_p_holm")
    endings = ("", "_low", "_high", "_best", *(f"_difference{ending}" for ending in differences))
    expected = {f"auroc{ending}" for ending in (*endings, *(f"_over_strong{end}" for end in differences))}
    assert {"task", "features", "prompts", *expected} == set(table.columns)


def test_the_smallest_error_is_the_best_and_shuffled_labels_do_not_compete() -> None:
    rows = [
        ("eol", "confidence", "ece", 0.2, 0.1, 0.3),
        ("eol", "clusters", "ece", 0.1, 0.0, 0.2),
        ("eol", "shuffled_labels", "ece", 0.0, 0.0, 0.1),
        ("eol", "confidence", "brier_at_base_rate", 0.2, 0.1, 0.3),
        ("eol", "clusters", "brier_at_base_rate", 0.3, 0.2, 0.4),
        ("eol", "confidence", "auroc", 0.6, 0.5, 0.7),
        ("eol", "shuffled_labels", "auroc", 0.7, 0.6, 0.8),
    ]
    table = summaries.metrics_table(metrics(rows), "held_out")
    columns = ["features", "ece_best", "brier_at_base_rate_best", "auroc_best"]
    assert table.select(columns).rows() == [
        ("confidence", False, True, True),
        ("clusters", True, False, False),
        ("shuffled_labels", False, False, False),
    ]


VALUE = (0.8, 0.7, 0.9)
"""AUROC and its interval."""


def test_compare_counts_significant_differences_after_holms_correction() -> None:
    nan = float("nan")
    rows = [
        ("a", "clusters", "auroc", 0.8, 0.75, 0.85, 0.2, 0.1, 0.3, 0.002, 0.008, -0.1, -0.2, 0.0, 0.1, 0.1),
        ("b", "clusters", "auroc", 0.62, 0.55, 0.68, 0.02, 0.01, 0.06, 0.03, 0.06, 0.1, 0.0, 0.2, 0.1, 0.1),
        (
            "c",
            "clusters",
            "auroc",
            0.5,
            0.45,
            0.55,
            -0.2,
            -0.3,
            -0.1,
            0.002,
            0.008,
            0.1,
            0.0,
            0.2,
            0.002,
            0.004,
        ),
        ("d", "clusters", "auroc", nan, 0.0, 0.0),
        ("a", "confidence", "auroc", 0.6, 0.55, 0.65, 0.0, 0.0, 0.0, 1.0, 1.0),
    ]
    table = summaries.metrics_table(metrics(rows), "held_out")
    found = summaries.compare(table, "clusters", "auroc", "difference")
    assert found == summaries.Comparison(tasks=3, above=1, below=1, least=-0.2, most=0.2)
    found = summaries.compare(table, "clusters", "auroc", "over_strong")
    assert found == summaries.Comparison(tasks=3, above=1, below=0, least=-0.1, most=0.1)
    assert summaries.compare(table, "margin", "auroc", "difference") is None
    assert summaries.compare(table, "clusters", "accuracy", "difference") is None
    assert summaries.compare(table, "confidence", "auroc", "over_strong") is None


def test_gains_are_of_single_blocks_over_each_reference() -> None:
    rows = [
        (
            "a",
            "confidence+row_statistics",
            "auroc",
            0.8,
            0.7,
            0.9,
            0.2,
            0.1,
            0.3,
            0.002,
            0.008,
            0.4,
            0,
            0,
            0,
            0,
        ),
        (
            "a",
            "strong+row_statistics",
            "auroc",
            0.8,
            0.7,
            0.9,
            0.3,
            0.2,
            0.4,
            0.002,
            0.008,
            0.1,
            -0.1,
            0.3,
            0.4,
            0.8,
        ),
        (
            "a",
            "strong+clusters+row_statistics",
            "auroc",
            0.8,
            0.7,
            0.9,
            0.3,
            0.2,
            0.4,
            0,
            0,
            0.1,
            0,
            0.3,
            0,
            0,
        ),
    ]
    found = summaries.gains(summaries.metrics_table(metrics(rows), "held_out"))
    assert found.rows() == [
        ("confidence", "row_statistics", "a", 0.2, 0.1, 0.3, True),
        ("strong", "row_statistics", "a", 0.1, -0.1, 0.3, False),
    ]
    assert summaries.gains(summaries.metrics_table(metrics([]), "held_out")).is_empty()


def test_top_heads_are_the_largest_differences_of_each_task() -> None:
    rows = [
        ("eol", 0, 0, 0.1),
        ("eol", 0, 1, 0.3),
        ("eol", 1, 0, float("nan")),
        ("eol", 1, 1, 0.2),
        ("identifiers", 1, 0, 0.5),
    ]
    full = [(task, "clusters", *rest, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0) for task, *rest in rows]
    top = summaries.top_heads(IMPORTANCE.of_rows(full), 2)
    assert top.select("task", "layer", "head").rows() == [
        ("eol", 0, 1),
        ("eol", 1, 1),
        ("identifiers", 1, 0),
    ]


def test_clusters_per_head_do_not_count_noise() -> None:
    clusters = pl.DataFrame(
        {"layer": [0] * 4 + [1] * 4, "head": [2] * 8, "cluster": [0, 0, 1, -1, -1, -1, -1, -1]}
    )
    assert summaries.clusters_per_head(clusters).rows() == [(0, 2, 2, 0.25), (1, 2, 0, 1.0)]
    assert summaries.head_shape(clusters) == (2, 3)
