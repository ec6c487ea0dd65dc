"""Choosing heads and prompts, by hand."""

import numpy as np
import polars as pl
import pytest
from helpers.studies import random_prompts, tiny_config

from apmae.intervention import Intervention, Scale, Zero
from apmae.intervention.conditions import (
    Condition,
    condition_of,
    condition_table,
    held_out_prompts,
    sweep,
    tuning_prompts,
)
from apmae.intervention.operations import Gates
from apmae.intervention.selections import heads_by_effect, rank_heads
from apmae.study import artifacts

IMPORTANCE = pl.DataFrame(
    [
        ("eol", "clusters", 0, 0, 1.0, 0.3, -0.1, 0.2, 0.2, 1.0, 1.0),
        ("eol", "clusters", 0, 1, 1.0, 0.1, -0.5, 0.3, -0.4, 1.0, 1.0),
        ("eol", "clusters", 1, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0),
        ("eol", "clusters", 1, 1, 1.0, 0.6, -0.2, 0.4, 0.4, 1.0, 1.0),
    ],
    schema=artifacts.IMPORTANCE.schema,
    orient="row",
)


@pytest.mark.parametrize(
    ("selection", "heads"),
    [
        ("positive", [(1, 1), (0, 0), (0, 1)]),  # head (1, 0) has no positive value
        ("negative", [(0, 1), (1, 1), (0, 0)]),
        ("neutral", [(1, 0), (0, 0), (0, 1), (1, 1)]),
    ],
)
def test_heads_are_ranked_by_their_shap_values(selection, heads):
    assert rank_heads(IMPORTANCE, selection, np.random.default_rng(0)) == heads


@pytest.mark.parametrize(
    ("selection", "heads"),
    [
        ("positive_mean", [(1, 1), (0, 0)]),
        ("negative_mean", [(0, 1)]),
        ("neutral_mean", [(1, 0), (0, 0), (0, 1), (1, 1)]),
    ],
)
def test_heads_are_ranked_by_their_mean_shap_value(selection, heads):
    """Head (0, 1) has positive values too, and speaks against correct completions on average."""
    means = [0.2, -0.3, 0.0, 0.4]
    importance = IMPORTANCE.with_columns(mean_shap=pl.Series(means))
    assert rank_heads(importance, selection, np.random.default_rng(0)) == heads


def test_heads_are_ranked_by_their_exact_effects_and_by_attribution_where_there_is_none():
    def effect(head, method, value, **changed):
        row = {
            "task": "eol",
            "layer": head[0],
            "head": head[1],
            "split": "train",
            "operation": "zero",
            "method": method,
            "outcome": "log_probability",
            "weighting": "balanced",
            "value": value,
        }
        return row | changed

    effects = artifacts.EFFECTS.of_rows(
        [
            effect((0, 0), "attribution", 9.0),
            effect((0, 0), "exact", 0.1),
            effect((0, 1), "attribution", 0.3),
            effect((1, 0), "exact", -0.5),
            effect((1, 0), "attribution", 5.0),
            effect((1, 1), "exact", 0.2),
            effect((1, 2), "exact", 7.0, split="test"),
            effect((1, 2), "exact", 7.0, operation="mean"),
            effect((1, 2), "exact", 7.0, outcome="correct"),
            effect((1, 2), "exact", 7.0, weighting="base_rate"),
        ]
    )
    assert heads_by_effect(effects) == [(0, 1), (1, 1), (0, 0)]


def test_heads_by_effect_meet_every_operation_once(tmp_path):
    sections = {"head_counts": [1, 2, 5], "factors": [0.5], "importance": ["clusters", "row_statistics"]}
    config = tiny_config(tmp_path, intervention=sections).intervention
    ranked = [(0, 1), (1, 1)]
    made = [
        (condition.operation.name, condition.heads)
        for features in config.importance
        for condition in sweep("eol", features, IMPORTANCE, ranked, config, seed=0)
        if condition.selection == "effects"
    ]
    assert made == [
        (name, heads) for name in ("zero", "mean", "scale") for heads in (((0, 1),), tuple(ranked))
    ]


def test_ties_and_random_draws_depend_on_the_generator_alone():
    silent = IMPORTANCE.with_columns(mean_absolute=0.0)
    orders = {tuple(rank_heads(silent, "neutral", np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) > 5
    same = {tuple(rank_heads(IMPORTANCE, "random", np.random.default_rng(3))) for _ in range(3)}
    assert len(same) == 1
    assert set(same.pop()) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_counts_without_enough_heads_are_left_out(tmp_path):
    sections = {"head_counts": [4, 1, 9], "random_seeds": 2, "operations": ["zero"]}
    config = tiny_config(tmp_path, intervention=sections).intervention
    made = [
        (c.selection, c.seed, len(c.heads)) for c in sweep("eol", "clusters", IMPORTANCE, [], config, seed=0)
    ]
    assert made == [
        ("positive", 0, 1),
        ("negative", 0, 1),
        ("neutral", 0, 1),
        ("neutral", 0, 4),
        *[("random", draw, count) for draw in (0, 1, 2) for count in (1, 4)],
    ]


def test_every_operation_gets_the_same_heads_and_the_first_one_random_heads_too(tmp_path):
    sections = {"head_counts": [2], "random_seeds": 1, "factors": [0.5, 2.0]}
    config = tiny_config(tmp_path, intervention=sections).intervention
    made = list(sweep("eol", "clusters", IMPORTANCE, [], config, seed=0))
    by_operation = {}
    for condition in made:
        chosen = (condition.selection, condition.heads)
        by_operation.setdefault((condition.operation.name, condition.operation.factor), []).append(chosen)
    assert list(by_operation) == [("zero", 0.0), ("mean", 0.0), ("scale", 0.5), ("scale", 2.0)]
    zeroed = by_operation.pop(("zero", 0.0))
    ranked = [chosen for chosen in zeroed if chosen[0] != "random"]
    assert len(zeroed) == len(ranked) + 3
    others = sweep("eol", "row_statistics", IMPORTANCE, [], config, seed=0)
    assert "random" not in {condition.selection for condition in others}
    assert all(chosen == ranked for chosen in by_operation.values())


def test_random_heads_have_a_seed_for_every_shap_selection(tmp_path):
    sections = {"head_counts": [2], "random_seeds": 1, "importance": ["clusters", "row_statistics"]}
    config = tiny_config(tmp_path, intervention=sections).intervention
    made = list(sweep("eol", "clusters", IMPORTANCE, [], config, seed=0))
    random = {c.heads for c in made if c.selection == "random"}
    assert [c.seed for c in made if c.selection == "random"] == [0, 1, 2, 3, 4, 5]
    assert len(random) > 1


def test_held_out_prompts_are_the_first_of_either_outcome():
    chosen = held_out_prompts(random_prompts(count=40), "eol", "test", 1)
    assert sorted(chosen["correct"]) == [False, True]
    assert set(chosen["split"]) == {"test"}
    assert set(chosen["task"]) == {"eol"}


def test_tuning_prompts_are_balanced_drawn_and_of_the_training_part():
    prompts = random_prompts(count=200)
    chosen = tuning_prompts(prompts, "eol", 5, seed=0)
    assert (chosen["correct"].sum(), chosen.height) == (5, 10)
    assert set(chosen["split"]) == {"train"}
    assert chosen["prompt_id"].is_sorted()
    assert chosen.equals(tuning_prompts(prompts, "eol", 5, seed=0))
    assert not chosen.equals(tuning_prompts(prompts, "eol", 5, seed=1))
    train = prompts.filter(task="eol", split="train")
    rarer = min(train["correct"].sum(), (~train["correct"]).sum())
    assert tuning_prompts(prompts, "eol", 1000, seed=0).height == 2 * rarer


def test_conditions_are_numbered_in_their_table():
    made = [
        Condition("eol", "clusters", "random", 1, Intervention(((0, 1), (2, 3)), Scale(0.5))),
        Condition("eol", "clusters", "greedy", 0, Intervention(((1, 1),), Zero())),
        Condition("eol", "clusters", "learned_gates", 0, Intervention(((1, 0),), Gates(), gates=(0.25,))),
    ]
    assert condition_table(made).rows() == [
        (0, "eol", "clusters", "random", "scale", 0.5, 1, [[0, 1], [2, 3]], None),
        (1, "eol", "clusters", "greedy", "zero", 0.0, 0, [[1, 1]], None),
        (2, "eol", "clusters", "learned_gates", "gates", 0.0, 0, [[1, 0]], [0.25]),
    ]


def test_a_condition_comes_back_from_its_row():
    made = [
        Condition("eol", "clusters", "positive", 2, Intervention(((0, 1), (2, 0)), Scale(0.5))),
        Condition("eol", "clusters", "learned_gates", 0, Intervention(((1, 1),), Gates(), gates=(0.25,))),
    ]
    rows = condition_table(made).iter_rows(named=True)
    assert [condition_of(row) for row in rows] == made
