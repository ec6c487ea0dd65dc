"""What chosen interventions do to held-out prompts, by hand."""

from __future__ import annotations

import math

import polars as pl
import pytest
from helpers.finished_study import condition, interventions, resampling

from apmae.report.chosen import chosen_effects, side_effect_table
from apmae.study.artifacts import CHOICES, SIDE_EFFECTS

TASKS = pl.DataFrame({"task": ["eol", "random"], "base_rate": [0.8, float("nan")]})


def held_out(number: int, letters: str, *, task: str = "eol", selection: str = "positive") -> pl.DataFrame:
    """One condition; the gate gives its four prompts 0.1, 0.3, 0.6 and 0.8."""
    first = 0 if task == "eol" else 100
    table = interventions(condition(task, selection, 2, letters, first=first))
    return table.with_columns(
        condition=pl.lit(number, pl.Int32),
        gate_probability=pl.Series([0.1, 0.3, 0.6, 0.8][: len(letters)], dtype=pl.Float32),
    )


def choices(*rows: tuple[str, str, int, float | None]) -> pl.DataFrame:
    return pl.DataFrame([(*row, 8, 0.25) for row in rows], schema=CHOICES.schema, orient="row")


def effects(table: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    return chosen_effects(table, made, TASKS, resampling(table))


def rows_of(table: pl.DataFrame, task: str) -> dict[str, dict[str, object]]:
    return {row["method"]: row for row in table.filter(task=task).iter_rows(named=True)}


def test_methods_are_compared_prompt_by_prompt() -> None:
    table = pl.concat([held_out(0, "gwlr"), held_out(1, "ggrr", selection="greedy")])
    chosen = choices(("eol", "zero", 0, None), ("eol", "greedy", 1, None), ("eol", "gated", 0, 0.3))
    found = rows_of(effects(table, chosen), "eol")
    assert list(found) == ["chosen", "zero", "greedy", "gated"]
    # Zeroing gains one and loses one of four; 0.8 of all completions are correct, of which it loses half.
    assert (found["zero"]["net_change"], found["zero"]["changed"]) == (0.0, 2)
    assert found["zero"]["base_rate_net_change"] == pytest.approx(0.2 * 0.5 - 0.8 * 0.5)
    # Greedy: changes 1, 1, 0, 0; minus those of zeroing: 0, 1, 1, 0.
    assert found["greedy"]["net_change"] == 0.5
    assert found["greedy"]["difference"] == 0.5
    assert found["greedy"]["difference_low"] < 0.5 < found["greedy"]["difference_high"]
    # The gate lets the first two prompts through, so that the loss is spared.
    assert (found["gated"]["net_change"], found["gated"]["changed"]) == (0.25, 1)
    assert (found["gated"]["selection"], found["gated"]["n_heads"]) == ("positive", 2)


def test_where_nothing_was_chosen_nothing_changes_and_all_tasks_count() -> None:
    table = pl.concat([held_out(0, "ggwr"), held_out(1, "llrr", task="random")])
    found = effects(table, choices(("eol", "zero", 0, None)))
    assert rows_of(found, "random")["zero"]["net_change"] == 0
    assert rows_of(found, "random")["zero"]["condition"] is None
    assert rows_of(found, "random")["gated"]["difference"] == 0
    pooled = rows_of(found, "all tasks")
    assert (pooled["zero"]["net_change"], pooled["zero"]["prompts"]) == (0.25, 8)
    assert pooled["gated"]["difference"] == -0.25
    assert found["task"].unique(maintain_order=True).to_list() == ["eol", "random", "all tasks"]


def test_tuning_prompts_are_not_measured_on() -> None:
    tuning = held_out(0, "gggg").with_columns(split=pl.lit("train"), prompt_id=pl.col("prompt_id") + 50)
    table = pl.concat([tuning, held_out(0, "wwrr")])
    found = rows_of(effects(table, choices(("eol", "zero", 0, None))), "eol")
    assert (found["zero"]["net_change"], found["zero"]["prompts"]) == (0.0, 4)


def test_no_interventions_give_no_rows() -> None:
    assert effects(interventions([]), choices()).is_empty()


def test_methods_are_compared_with_random_heads_that_were_chosen_likewise() -> None:
    table = pl.concat([held_out(0, "ggwr"), held_out(1, "gwwl", selection="random")])
    found = rows_of(effects(table, choices(("eol", "zero", 0, None), ("eol", "random", 1, None))), "eol")
    assert list(found) == ["chosen", "zero", "gated", "random"]
    assert found["random"]["net_change"] == 0.0
    assert (found["random"]["random_difference"], found["zero"]["difference"]) == (None, None)
    # By prompt: 1 - 1, 1 - 0, 0 - 0 and 0 - (-1).
    assert found["zero"]["random_difference"] == 0.5
    assert found["zero"]["random_difference_low"] < 0.5 < found["zero"]["random_difference_high"]
    assert found["gated"]["random_difference"] == 0.0
    nothing = rows_of(effects(table, choices(("eol", "zero", 0, None))), "eol")
    assert nothing["zero"]["random_difference"] == 0.5  # of random heads none helped, so none is changed
    without = rows_of(effects(held_out(0, "ggwr"), choices(("eol", "zero", 0, None))), "eol")
    assert without["zero"]["random_difference"] is None


def test_the_chosen_method_is_that_of_most_gain_on_tuning_prompts_and_never_the_control() -> None:
    tables = [
        held_out(0, "gwrr"),
        held_out(1, "ggrr", selection="greedy"),
        held_out(2, "ggrr", selection="random"),
    ]
    made = choices(("eol", "zero", 0, None), ("eol", "greedy", 1, None), ("eol", "random", 2, None))
    made = made.with_columns(tuning_net_change=pl.Series([0.5, 0.25, 0.75]))
    found = rows_of(effects(pl.concat(tables), made), "eol")
    assert (found["chosen"]["condition"], found["chosen"]["net_change"]) == (0, 0.25)


def test_no_change_has_no_interval_of_zero_width() -> None:
    found = rows_of(effects(held_out(0, "wwrr"), choices(("eol", "zero", 0, None))), "eol")["zero"]
    assert found["net_change"] == 0.0
    assert found["low"] < 0 < found["high"]
    assert found["base_rate_net_change"] == 0.0
    assert found["base_rate_net_change_low"] < 0 < found["base_rate_net_change_high"]


def test_side_effects_of_two_tasks_and_on_perplexity() -> None:
    rows = [
        ("eol", "a", 1, 1.0, 0.0),
        ("eol", "a", 2, 0.0, 1.0),
        ("eol", "b", 3, 1.0, 0.0),
        ("eol", "b", 4, 1.0, 1.0),
        ("eol", "random code", 5, math.log(4), math.log(8)),
        ("eol", "random code", 6, math.log(16), math.log(8)),
        ("a", "random code", 5, 0.0, 1.0),
    ]
    effects_of = SIDE_EFFECTS.of_rows(rows)
    made = choices(("eol", "zero", 0, None), ("eol", "gated", 0, 0.3))
    drawn = resampling(effects_of.rename({"before": "correct_before"}))
    table = side_effect_table(effects_of, effects(held_out(0, "ggwr"), made), drawn)
    eol, alone = table.rows(named=True)
    # Changes -1, 1, -1, 0.
    assert (eol["gain"], alone["gain"]) == (0.5, None)
    assert eol["others_net_change"] == -0.25
    assert eol["low"] < -0.25 < eol["high"]
    assert (eol["worst_task"], eol["worst_net_change"]) == ("b", -0.5)
    assert (eol["perplexity_before"], eol["perplexity_after"]) == (pytest.approx(8), pytest.approx(8))
    assert (alone["others_net_change"], alone["worst_task"]) == (None, None)
    assert alone["perplexity_after"] == pytest.approx(math.e)
