from __future__ import annotations

import polars as pl
from made_up import condition, interventions, metrics

from apmae.report.answers import answers, shuffled_labels
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
AUROC = {"clusters": 0.6, "confidence": 0.8, "confidence+clusters": 0.81}


def held_out(values: dict[str, float], half: float = 0.05) -> pl.DataFrame:
    rows = []
    for name, value in values.items():
        more = value - values.get("confidence", 0.5)
        interval, paired = (value - half, value + half), (more - half, more + half)
        rows.append(("eol", name, "auroc", value, *interval, more, *paired))
    return metrics_table(metrics(rows), "held_out")


def best(outcomes: str) -> pl.DataFrame:
    return best_interventions(interventions(condition("eol", "negative", 20, outcomes)))


def test_heads_that_lead_several_tasks_are_named_once() -> None:
    heads, _, _ = answers(TOP, held_out(AUROC), best("gr"))
    assert heads.headline == "Head 3.2 leads in all 2 tasks."
    assert "3.2 (2 tasks)" in heads.detail


def test_clusters_that_lose_to_confidence_are_said_to() -> None:
    _, prediction, _ = answers(TOP, held_out(AUROC), best("gr"))
    assert prediction.headline == "Clusters alone reach an AUROC of 0.60 on held-out groups."
    assert "do not beat the target's own confidence, which does better in the one task, clearly in 1" in (
        prediction.detail
    )
    assert "Adding them to confidence raises AUROC in the one task, clearly in none" in prediction.detail


def test_clusters_that_beat_confidence_are_said_to() -> None:
    _, prediction, _ = answers(TOP, held_out({"clusters": 0.8, "confidence": 0.6}), best("gr"))
    assert "They beat the target's own confidence in the one task, clearly in 1" in prediction.detail
    assert "Adding" not in prediction.detail


def test_zeroing_is_told_with_its_interval_and_the_caveat() -> None:
    _, _, zeroing = answers(TOP, held_out(AUROC), best("gggggggr"))
    assert zeroing.headline.startswith("At best +87.5 points [+")
    assert zeroing.headline.endswith("eol, 20 negative heads zeroed.")
    assert "above zero in the one task" in zeroing.detail
    assert "best of 1 condition per task" in zeroing.detail
    assert "not corrected" in zeroing.detail


def test_a_loss_is_not_told_as_a_gain() -> None:
    _, _, zeroing = answers(TOP, held_out(AUROC), best("lllllllr"))
    assert zeroing.headline.startswith("At best −87.5 points")
    assert "above zero in no task" in zeroing.detail


def test_what_was_not_measured_is_said() -> None:
    heads, prediction, zeroing = answers(NO_TOP, held_out({"prior": 0.5}), best(""))
    assert heads.headline == "Importance was computed for no task."
    assert prediction.headline == "Not measured on held-out groups."
    assert zeroing.headline == "No intervention was run."


def test_shuffled_labels_are_told_with_the_tasks_at_chance() -> None:
    said = shuffled_labels(held_out({"shuffled_labels": 0.52}))
    assert said is not None
    assert "reach an AUROC of 0.52; the 95% interval holds chance, 0.5, in the one task" in said
    assert "holds chance, 0.5, in no task" in str(shuffled_labels(held_out({"shuffled_labels": 0.6})))
    assert shuffled_labels(held_out({"clusters": 0.6})) is None
