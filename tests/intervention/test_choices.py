"""Choosing conditions on four tuning prompts, by hand."""

import polars as pl
import pytest
from helpers.finished_study import condition, interventions

from apmae.intervention.choices import best_ungated, choose

PROBABILITIES = [0.1, 0.2, 0.8, 0.9]


def outcomes(number, selection, operation, letters, *, n_heads=1, split="train", task="eol"):
    """One condition on four prompts: g(ained), l(ost), r(ight), w(rong)."""
    table = interventions(condition(task, selection, n_heads, letters))
    return table.with_columns(
        condition=pl.lit(number, pl.Int32),
        operation=pl.lit(operation),
        split=pl.lit(split),
        gate_probability=pl.Series(PROBABILITIES, dtype=pl.Float32),
    )


def chosen(*tables):
    return choose(pl.concat(tables)).select("method", "condition", "threshold", "tuning_net_change").rows()


def test_each_method_takes_its_best_condition():
    found = chosen(
        outcomes(0, "positive", "zero", "gwlr"),  # net 0; with the gate closed above 0.1, net 1
        outcomes(1, "negative", "zero", "ggll"),  # net 0; with the gate closed above 0.2, net 2
        outcomes(2, "neutral", "zero", "gwrr"),  # net 1
        outcomes(3, "neutral", "mean", "lwrr"),  # nothing gained
        outcomes(4, "positive", "scale", "gwrr"),
        outcomes(5, "greedy", "zero", "gwrr"),
        outcomes(6, "random", "zero", "gggr"),  # no choice
    )
    assert found == [
        ("zero", 2, None, 0.25),
        ("scale", 4, None, 0.25),
        ("greedy", 5, None, 0.25),
        ("gated", 1, pytest.approx(0.2), 0.5),
    ]


def test_held_out_prompts_have_no_say():
    train = outcomes(0, "positive", "zero", "lwrr")
    assert chosen(train, outcomes(0, "positive", "zero", "gggg", split="test")) == []


def test_of_equal_conditions_the_one_of_fewest_heads_is_chosen():
    found = chosen(
        outcomes(0, "positive", "zero", "gwrr", n_heads=20),
        outcomes(1, "negative", "zero", "gwrr", n_heads=5),
        outcomes(2, "neutral", "zero", "gwrr", n_heads=5),
    )
    assert found[0][:2] == ("zero", 1)
    assert found[1][:2] == ("gated", 1)


def test_the_best_intervention_of_a_task_has_no_gate():
    tables = [
        outcomes(0, "positive", "zero", "ggll"),
        outcomes(1, "positive", "mean", "gwrr"),
        outcomes(2, "greedy", "zero", "ggwr", task="random"),
    ]
    best = best_ungated(choose(pl.concat(tables)))
    assert best.select("task", "method", "condition").rows() == [("eol", "mean", 1), ("random", "greedy", 2)]


def test_without_tuning_prompts_nothing_is_chosen():
    assert chosen(outcomes(0, "positive", "zero", "gggg", split="test")) == []
    assert best_ungated(choose(interventions([]))).is_empty()
