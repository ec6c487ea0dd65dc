"""Choosing conditions on four tuning prompts, by hand."""

import polars as pl
import pytest
from helpers.finished_study import condition, interventions

from apmae.intervention.choices import best_ungated, choose

PROBABILITIES = [0.1, 0.2, 0.8, 0.9]


def outcomes(number, selection, operation, letters, *, n_heads=1, split="train", task="eol", seed=0):
    """One condition on four prompts: g(ained), l(ost), r(ight), w(rong)."""
    table = interventions(condition(task, selection, n_heads, letters, seed=seed))
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
        outcomes(6, "random", "zero", "gggr"),  # not behind the gate
    )
    assert found == [
        ("zero", 2, None, 0.25),
        ("scale", 4, None, 0.25),
        ("greedy", 5, None, 0.25),
        ("random", 6, None, 0.75),
        ("gated", 1, pytest.approx(0.2), 0.5),
    ]


def test_random_heads_are_chosen_from_as_many_conditions_as_shap_selections_offer():
    shap = [
        outcomes(0, "positive", "zero", "gwrr"),
        outcomes(1, "negative", "zero", "gwrr"),
        outcomes(2, "positive", "zero", "wwrr", n_heads=5),
        outcomes(3, "neutral", "mean", "wwrr", n_heads=5),  # another operation's
        outcomes(4, "greedy", "zero", "wwrr", n_heads=5),
    ]
    random = [
        outcomes(5, "random", "zero", "wwrr", seed=0),
        outcomes(6, "random", "zero", "gwrr", seed=1),
        outcomes(7, "random", "zero", "ggrr", seed=2),  # a third of one head
        outcomes(8, "random", "zero", "ggrr", seed=1, n_heads=5),  # a second of five
        outcomes(9, "random", "zero", "ggrr", seed=0, n_heads=9),  # a number of which SHAP values give none
    ]
    assert ("random", 6, None, 0.25) in chosen(*shap, *random)
    assert "random" not in {method for method, *_ in chosen(*random)}


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
        outcomes(3, "random", "zero", "ggrr"),
    ]
    best = best_ungated(choose(pl.concat(tables)))
    assert best.select("task", "method", "condition").rows() == [("eol", "mean", 1), ("random", "greedy", 2)]


def test_without_tuning_prompts_nothing_is_chosen():
    assert chosen(outcomes(0, "positive", "zero", "gggg", split="test")) == []
    assert best_ungated(choose(interventions([]))).is_empty()
