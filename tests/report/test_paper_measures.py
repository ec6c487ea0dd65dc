"""The paper's measures, by hand."""

import math

import polars as pl
import pytest

from apmae.report.paper_measures import (
    accuracy_over_folds,
    collapses,
    effects_over_tasks,
    paper_conditions,
)
from apmae.report.sections.paper import _collapse_in_words
from apmae.study.artifacts import INTERVENTIONS

BEFORE, OTHER = 1, 2


def prompts(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prompt_id": range(count),
            "group": [f"g{number // 2}" for number in range(count)],
            "correct": [number % 2 == 0 for number in range(count)],
        }
    )


def outcome(prompt, correct_before, correct_after, predicted, **others):
    row = {
        "condition": 0,
        "task": "eol",
        "importance": "clusters",
        "selection": "positive",
        "operation": "zero",
        "factor": 0.0,
        "n_heads": 1,
        "seed": 0,
        "split": "test",
        "gate_probability": 0.5,
        "predicted_before": BEFORE,
    }
    row |= {"prompt_id": prompt, "correct_before": correct_before, "correct_after": correct_after}
    return {**row, "predicted_id": predicted, **others}


def test_accuracy_over_folds_by_hand():
    # Folds of two prompts: 1, 0.5 and 0; mean 0.5, standard error 0.5 / sqrt(3), t with 2 degrees 4.3027.
    probability = [0.9, 0.1, 0.9, 0.9, 0.1, 0.9]
    predictions = pl.DataFrame(
        {
            "prompt_id": range(6),
            "task": "eol",
            "protocol": "cross_validation",
            "features": "clusters",
            "fold": [0, 0, 1, 1, 2, 2],
            "probability": probability,
        }
    )
    others = predictions.with_columns(protocol=pl.lit("held_out"), probability=pl.lit(0.9))
    (row,) = accuracy_over_folds(pl.concat([predictions, others]), prompts(6)).to_dicts()
    half = 4.302653 * 0.5 / math.sqrt(3)
    assert (row["folds"], row["accuracy"]) == (3, 0.5)
    assert (row["low"], row["high"]) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-5)
    (single,) = accuracy_over_folds(predictions.filter(fold=0), prompts(6)).to_dicts()
    assert (single["accuracy"], single["low"]) == (1, None)


def test_effects_are_means_over_tasks_and_count_changed_predictions():
    # eol: one of two correct prompts lost, one of two incorrect ones says something else: -0.25.
    rows = [
        outcome(0, True, False, OTHER),
        outcome(2, True, True, BEFORE),
        outcome(1, False, False, OTHER, split="development"),
        outcome(3, False, False, BEFORE),
        # Another task gains its one incorrect prompt in one of two seeds: +0.5.
        outcome(5, False, True, OTHER, task="random", seed=0),
        outcome(5, False, False, BEFORE, task="random", seed=1),
        # Not the paper's: another operation, tuning prompts, heads by a search or by their effects.
        outcome(0, True, False, OTHER, operation="mean"),
        outcome(0, True, False, OTHER, split="train"),
        outcome(0, True, False, OTHER, selection="greedy"),
        outcome(0, True, False, OTHER, selection="effects"),
        outcome(0, True, False, OTHER, importance="row_statistics"),
    ]
    conditions = paper_conditions(INTERVENTIONS.of_rows(rows), prompts(6), "clusters")
    assert conditions.height == 5
    (row,) = effects_over_tasks(conditions).to_dicts()
    assert (row["selection"], row["n_heads"], row["tasks"]) == ("positive", 1, 2)
    assert row["net_change"] == pytest.approx((-0.25 + 0.5) / 2)
    assert row["low"] == pytest.approx(0.125 - 12.706205 * 0.75 / 2, abs=1e-5)  # t with one degree
    assert (row["changed_correct"], row["changed_incorrect"]) == (0.5, 0.5)


def test_effects_are_ordered_by_selection_then_heads():
    rows = [
        outcome(0, True, True, BEFORE, task=task, selection=selection, n_heads=heads)
        for task, counts in (("eol", (5, 1)), ("random", (20, 5)))
        for selection in ("positive", "negative")
        for heads in counts
    ]
    effects = effects_over_tasks(paper_conditions(INTERVENTIONS.of_rows(rows), prompts(1), "clusters"))
    assert effects.select("selection", "n_heads", "tasks").rows() == [
        (selection, heads, tasks)
        for selection in ("positive", "negative")
        for heads, tasks in ((1, 1), (5, 2), (20, 1))
    ]


def lost(task: str, selection: str, by_heads: dict[int, int], count: int = 40) -> list[dict[str, object]]:
    """Correct prompts of which the first ones are lost under so many heads."""
    return [
        outcome(prompt, True, prompt >= number, BEFORE, task=task, selection=selection, n_heads=heads)
        for heads, number in by_heads.items()
        for prompt in range(count)
    ]


def test_a_collapse_is_where_nine_of_ten_correct_prompts_are_lost():
    rows = [
        *lost("eol", "positive", {1: 0, 10: 40, 2: 20, 5: 37}),
        *lost("eol", "random", {1: 0, 10: 20}),
        outcome(0, False, False, BEFORE, n_heads=1),  # incorrect before: it does not count
    ]
    conditions = paper_conditions(INTERVENTIONS.of_rows(rows), prompts(40), "clusters")
    positive, random = collapses(conditions, seed=0).to_dicts()
    assert (positive["heads"], positive["tried"]) == (5, 10)
    # 37 of 40 are near the limit, so some resamples of the groups collapse at ten heads only.
    assert (positive["low"], positive["high"]) == (5, 10)
    assert (random["heads"], random["low"], random["high"]) == (math.inf, math.inf, math.inf)
    assert _collapse_in_words(positive) == "5 [5, 10]"
    assert _collapse_in_words(random) == ">10 [>10, >10]"


def test_no_interventions_have_no_effects_and_no_collapses():
    conditions = paper_conditions(INTERVENTIONS.of_rows(), prompts(2), "clusters")
    assert effects_over_tasks(conditions).is_empty()
    assert collapses(conditions, seed=0).is_empty()
