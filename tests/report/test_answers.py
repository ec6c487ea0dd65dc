from __future__ import annotations

import polars as pl
from helpers.finished_study import condition, interventions, metrics, resampling

from apmae.intervention.choices import choose
from apmae.report.chosen import chosen_effects
from apmae.report.sections.answers import answers, beside_random_heads, comparisons, shuffled_labels
from apmae.report.sections.interventions import versus
from apmae.report.summaries import metrics_table
from apmae.study.artifacts import EFFECTS

TOP = pl.DataFrame(
    {
        "task": ["eol", "eol", "random"],
        "layer": [3, 1, 3],
        "head": [2, 0, 2],
        "max_difference": [0.9, 0.5, 0.4],
    }
)
NO_TOP = TOP.clear()
NO_EFFECTS = EFFECTS.of_rows()
AUROC = {
    "clusters": 0.6,
    "confidence": 0.8,
    "confidence+clusters": 0.81,
    "strong": 0.85,
    "strong+row_statistics": 0.95,
}


def held_out(values: dict[str, float], half: float = 0.05) -> pl.DataFrame:
    """One task; a difference of more than `half` is significant."""
    rows = []
    for name, value in values.items():
        differences: list[float] = []
        for reference in ("confidence", "strong"):
            more = value - values.get(reference, float("nan"))
            p = 0.01 if abs(more) > half else 0.5
            differences += [more, more - half, more + half, p, p]
        rows.append(("eol", name, "auroc", value, value - half, value + half, *differences))
    return metrics_table(metrics(rows), "held_out")


TASKS = pl.DataFrame({"task": ["eol"], "base_rate": [0.5]})


def chosen(tuning: dict[str, str], measured: dict[str, str]) -> pl.DataFrame:
    """`chosen_effects` of a condition of five heads for each selection: its tuning, its held-out outcomes."""
    tables = [interventions([])]
    for split, first, outcomes in (("train", 0, tuning), ("test", 50, measured)):
        for number, (selection, letters) in enumerate(outcomes.items()):
            table = interventions(condition("eol", selection, 5, letters, first=first))
            tables.append(table.with_columns(condition=pl.lit(number, pl.Int32), split=pl.lit(split)))
    table = pl.concat(tables)
    return chosen_effects(table, choose(table), TASKS, resampling(table))


NONE_CHOSEN = chosen({}, {})


def test_the_first_card_names_the_heads_that_do_most_and_whether_shap_agrees() -> None:
    def effect(task: str, head: tuple[int, int], value: float, low: float) -> dict[str, object]:
        return {"task": task, "layer": head[0], "head": head[1], "value": value, "low": low, "high": 0.9}

    leading = EFFECTS.of_rows([effect("eol", (3, 2), 0.5, 0.1), effect("random", (0, 1), -0.7, -1.0)])
    first, second, *_ = answers(
        leading, TOP.cast({"layer": pl.Int16, "head": pl.Int16}), held_out(AUROC), NONE_CHOSEN
    )
    assert first.question == "Which heads do most?"
    assert first.headline == "Ablated alone, L0H1 for random (−0.70 nats) and L3H2 for eol (+0.50 nats)."
    assert "excludes zero in 1 of 2 tasks" in first.detail
    assert "the same head first in 1 of 2 tasks" in first.detail
    assert second.question == "Which heads know most?"


def test_heads_that_lead_several_tasks_are_named_once() -> None:
    heads, _, _ = answers(NO_EFFECTS, TOP, held_out(AUROC), NONE_CHOSEN)
    assert heads.headline == "Head L3H2 leads in all 2 tasks."
    assert "L3H2 (2 tasks)" in heads.detail


def test_the_card_says_what_attention_adds_to_all_that_needs_none() -> None:
    _, prediction, _ = answers(NO_EFFECTS, TOP, held_out(AUROC), NONE_CHOSEN)
    assert prediction.headline == "Clusters alone reach an AUROC of 0.60 on held-out groups."
    assert prediction.detail == (
        "Row statistics, added to all that needs no attention, change its AUROC by +0.100: significantly up "
        "in the one task, down in no task."
    )
    _, prediction, _ = answers(NO_EFFECTS, TOP, held_out(AUROC | {"row_statistics": 0.7}), NONE_CHOSEN)
    assert prediction.headline == "Row statistics alone reach an AUROC of 0.70 on held-out groups."


def test_every_comparison_of_attention_is_told_with_its_significance() -> None:
    found = [
        (row["block"], row["added"], row["reference"], row["differences"], row["above"], row["below"])
        for row in comparisons(held_out(AUROC))
    ]
    assert found == [
        ("row_statistics", True, "all that needs no attention", "+0.100", "the one task", "no task"),
        ("clusters", False, "confidence", "-0.200", "no task", "the one task"),
        ("clusters", True, "confidence", "+0.010", "no task", "no task"),
    ]


def test_without_baselines_only_attention_is_told() -> None:
    _, prediction, _ = answers(NO_EFFECTS, TOP, held_out({"clusters": 0.8}), NONE_CHOSEN)
    assert prediction.detail == ""
    assert comparisons(held_out({"clusters": 0.8})) == []


def test_what_changing_did_is_the_confirmed_figure_beside_random_heads() -> None:
    """Negative heads do best on held-out prompts, but positive ones on tuning prompts."""
    made = chosen(
        {"positive": "ggrr", "negative": "gwrr", "random": "gwrr"},
        {"positive": "gwlr", "negative": "ggrr", "random": "gwrr"},
    )
    _, _, changing = answers(NO_EFFECTS, TOP, held_out(AUROC), made)
    assert changing.headline.startswith("0.0 points [−")
    assert "50.0" not in changing.headline + changing.detail.partition("[")[0]
    assert "Random heads, chosen likewise: +25.0 [−" in changing.detail
    assert "the difference is −25.0 [−" in changing.detail
    assert "above zero in no task" in changing.detail
    assert "At best" not in changing.headline
    [all_tasks] = [row for row, _ in beside_random_heads(made) if row["task"] == "all tasks"]
    assert all_tasks["net_change"] == 0.0


def test_a_clear_gain_and_a_clear_loss_are_counted() -> None:
    _, _, gain = answers(
        NO_EFFECTS, TOP, held_out(AUROC), chosen({"positive": "gwrr"}, {"positive": "g" * 20 + "r" * 20})
    )
    assert gain.headline.startswith("+50.0 points [+")
    assert "above zero in the one task, below zero in no task" in gain.detail
    _, _, loss = answers(
        NO_EFFECTS, TOP, held_out(AUROC), chosen({"positive": "gwrr"}, {"positive": "l" * 20 + "w" * 20})
    )
    assert loss.headline.startswith("−50.0 points [−")
    assert "above zero in no task, below zero in the one task" in loss.detail
    assert "Random" not in loss.detail


def test_where_nothing_helped_tuning_prompts_that_is_said() -> None:
    _, _, changing = answers(
        NO_EFFECTS, TOP, held_out(AUROC), chosen({"positive": "wwrr"}, {"positive": "gggg"})
    )
    assert changing.headline == "Nothing that was tried helped the tuning prompts of any task."


def test_where_a_method_beats_zero_ablation_is_counted() -> None:
    rows = [
        ("eol", "zero", 0.0, 0.0),
        ("eol", "mean", 0.1, 0.05),
        ("eol", "gated", 0.1, -0.05),
        ("random", "mean", -0.1, -0.2),
        ("random", "gated", 0.0, -0.1),
        ("all tasks", "mean", 0.5, 0.4),
        ("eol", "chosen", 0.5, 0.4),
        ("eol", "random", 0.5, 0.4),
    ]
    chosen = pl.DataFrame(rows, schema=["task", "method", "difference", "difference_low"], orient="row")
    assert versus(chosen, "difference") == (
        "Better than zero ablation on held-out prompts: mean in 1 of 2 tasks, clearly in 1; "
        "gated in 1 of 2 tasks, clearly in none. In random none is."
    )
    assert versus(chosen.filter(pl.col("task") == "eol"), "difference").endswith(
        "gated in the one task, clearly in none."
    )
    assert versus(chosen.clear(), "difference") == ""
    by_random = chosen.rename(lambda name: name.replace("difference", "random_difference"))
    assert versus(by_random, "random_difference").startswith(
        "Better than random heads, chosen likewise, on held-out prompts: zero in "
    )


def test_what_was_not_measured_is_said() -> None:
    heads, prediction, zeroing = answers(NO_EFFECTS, NO_TOP, held_out({"prior": 0.5}), NONE_CHOSEN)
    assert heads.headline == "Importance was computed for no task."
    assert prediction.headline == "Not measured on held-out groups."
    assert zeroing.headline == "No intervention was run."


def test_shuffled_labels_are_told_with_the_tasks_at_chance() -> None:
    said = shuffled_labels(held_out({"shuffled_labels": 0.52}))
    assert said is not None
    assert "reach an AUROC of 0.52; the 95% interval holds chance, 0.5, in the one task" in said
    assert "holds chance, 0.5, in no task" in str(shuffled_labels(held_out({"shuffled_labels": 0.6})))
    assert shuffled_labels(held_out({"clusters": 0.6})) is None
