from __future__ import annotations

import polars as pl
from helpers.finished_study import condition, interventions, metrics

from apmae.intervention.choices import choose
from apmae.report.chosen import chosen_effects
from apmae.report.sections.answers import answers, shuffled_labels
from apmae.report.sections.interventions import versus_zero_ablation
from apmae.report.summaries import best_interventions, metrics_table

TOP = pl.DataFrame(
    {
        "task": ["eol", "eol", "random"],
        "layer": [3, 1, 3],
        "head": [2, 0, 2],
        "max_difference": [0.9, 0.5, 0.4],
    }
)
NO_TOP = TOP.clear()
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
NONE_CHOSEN = chosen_effects(interventions([]), choose(interventions([])), TASKS)


def best(outcomes: str) -> pl.DataFrame:
    return best_interventions(interventions(condition("eol", "negative", 20, outcomes)))


def test_heads_that_lead_several_tasks_are_named_once() -> None:
    heads, _, _ = answers(TOP, held_out(AUROC), best("gr"), NONE_CHOSEN)
    assert heads.headline == "Head L3H2 leads in all 2 tasks."
    assert "L3H2 (2 tasks)" in heads.detail


def test_clusters_that_lose_to_confidence_are_said_to() -> None:
    _, prediction, _ = answers(TOP, held_out(AUROC), best("gr"), NONE_CHOSEN)
    assert prediction.headline == "Clusters alone reach an AUROC of 0.60 on held-out groups."
    assert (
        "The AUROC of clusters is significantly above that of confidence in no task, significantly below in "
        "the one task (-0.200)." in prediction.detail
    )
    assert (
        "With clusters, the AUROC of confidence is significantly above without in no task, significantly "
        "below in no task (+0.010)." in prediction.detail
    )
    assert (
        "With row statistics, the AUROC of all that needs no attention is significantly above without in the "
        "one task, significantly below in no task (+0.100)." in prediction.detail
    )
    assert prediction.detail.endswith("two-sided bootstrap over groups, Holm-corrected over tasks.")


def test_clusters_that_beat_confidence_are_said_to() -> None:
    _, prediction, _ = answers(TOP, held_out({"clusters": 0.8, "confidence": 0.6}), best("gr"), NONE_CHOSEN)
    assert "clusters is significantly above that of confidence in the one task" in prediction.detail
    assert "With " not in prediction.detail


def test_zeroing_is_told_with_its_interval_and_the_caveat() -> None:
    _, _, zeroing = answers(TOP, held_out(AUROC), best("gggggggr"), NONE_CHOSEN)
    assert zeroing.headline.startswith("At best +87.5 points [+")
    assert zeroing.headline.endswith("eol, 20 negative heads zero-ablated.")
    assert "above zero in the one task" in zeroing.detail
    assert "best of 1 condition per task" in zeroing.detail
    assert "not corrected" in zeroing.detail


def test_a_loss_is_not_told_as_a_gain() -> None:
    _, _, zeroing = answers(TOP, held_out(AUROC), best("lllllllr"), NONE_CHOSEN)
    assert zeroing.headline.startswith("At best −87.5 points")
    assert "above zero in no task" in zeroing.detail


def test_what_is_left_on_new_prompts_is_told_with_its_interval() -> None:
    tuning = interventions(condition("eol", "positive", 1, "gwrr")).with_columns(split=pl.lit("train"))
    held_out_rows = interventions(condition("eol", "positive", 1, "gggr", first=10))
    table = pl.concat([tuning, held_out_rows.with_columns(gate_probability=pl.lit(0.9, pl.Float32))])
    chosen = chosen_effects(table, choose(table), TASKS)
    _, _, changing = answers(TOP, held_out(AUROC), best("gr"), chosen)
    # Three of four gained: 0.75, deviation 0.5; the gate, closed above 0.5, lets none of them through.
    assert (
        "measured on held-out ones of all tasks: zero +75.0 [+26.0, +124.0] and gated 0.0 [0.0, 0.0]."
        in changing.detail
    )


def test_where_a_method_beats_zero_ablation_is_counted() -> None:
    rows = [
        ("eol", "zero", 0.0, 0.0),
        ("eol", "mean", 0.1, 0.05),
        ("eol", "gated", 0.1, -0.05),
        ("random", "mean", -0.1, -0.2),
        ("random", "gated", 0.0, -0.1),
        ("all tasks", "mean", 0.5, 0.4),
    ]
    chosen = pl.DataFrame(rows, schema=["task", "method", "difference", "difference_low"], orient="row")
    assert versus_zero_ablation(chosen) == (
        "Better than zero ablation on held-out prompts: mean in 1 of 2 tasks, clearly in 1; "
        "gated in 1 of 2 tasks, clearly in none. In random none is."
    )
    assert versus_zero_ablation(chosen.filter(pl.col("task") == "eol")).endswith(
        "gated in the one task, clearly in none."
    )
    assert versus_zero_ablation(chosen.clear()) == ""


def test_what_was_not_measured_is_said() -> None:
    heads, prediction, zeroing = answers(NO_TOP, held_out({"prior": 0.5}), best(""), NONE_CHOSEN)
    assert heads.headline == "Importance was computed for no task."
    assert prediction.headline == "Not measured on held-out groups."
    assert zeroing.headline == "No intervention was run."


def test_shuffled_labels_are_told_with_the_tasks_at_chance() -> None:
    said = shuffled_labels(held_out({"shuffled_labels": 0.52}))
    assert said is not None
    assert "reach an AUROC of 0.52; the 95% interval holds chance, 0.5, in the one task" in said
    assert "holds chance, 0.5, in no task" in str(shuffled_labels(held_out({"shuffled_labels": 0.6})))
    assert shuffled_labels(held_out({"clusters": 0.6})) is None
