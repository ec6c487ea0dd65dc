from __future__ import annotations

import polars as pl
import pytest

from apmae.report.selective import reliability, risk_coverage
from apmae.report.summaries import wilson_interval

TASKS = pl.DataFrame({"task": ["eol"], "base_rate": [0.8]})


def predictions(rows: list[tuple[float, bool]]) -> pl.DataFrame:
    full = [("eol", "clusters", *row) for row in rows]
    schema = {"task": pl.String, "features": pl.String, "probability": pl.Float64, "correct": pl.Boolean}
    return pl.DataFrame(full, schema=schema, orient="row")


def test_reliability_by_hand() -> None:
    table = reliability(predictions([(0.95, True), (1.0, False), (0.1, False), (0.12, False), (0.19, True)]))
    rows = table.rows(named=True)
    assert [row["prompts"] for row in rows] == [3, 2]
    assert rows[0]["probability"] == pytest.approx((0.1 + 0.12 + 0.19) / 3)
    assert rows[0]["frequency"] == pytest.approx(1 / 3)
    assert (rows[0]["low"], rows[0]["high"]) == wilson_interval(1, 3)
    assert rows[1]["frequency"] == 0.5


def test_risk_coverage_by_hand() -> None:
    # Two correct and two incorrect prompts, naturally 0.4 each and 0.1 each; two are tied.
    table = risk_coverage(predictions([(0.9, True), (0.7, False), (0.3, True), (0.3, False)]), TASKS)
    assert table["coverage"].to_list() == pytest.approx([0.4, 0.5, 1])
    assert table["risk"].to_list() == pytest.approx([0, 0.2, 0.2])


def test_risk_at_full_coverage_is_the_targets_error() -> None:
    table = risk_coverage(predictions([(0.9, True), (0.8, False), (0.7, False), (0.1, False)]), TASKS)
    assert table["coverage"][-1] == pytest.approx(1)
    assert table["risk"][-1] == pytest.approx(0.2)


def test_tasks_and_feature_sets_keep_their_order() -> None:
    rows = [("random", "b", 0.1, True), ("random", "a", 0.9, False), ("eol", "b", 0.5, True)]
    table = pl.DataFrame(rows, schema=["task", "features", "probability", "correct"], orient="row")
    tasks = pl.DataFrame({"task": ["eol", "random"], "base_rate": [0.8, 0.5]})
    assert risk_coverage(table, tasks)["task"].to_list() == ["random", "random", "eol"]
    assert reliability(table)["features"].to_list() == ["b", "b", "a"]


def test_no_predictions_give_no_rows() -> None:
    assert reliability(predictions([])).is_empty()
    assert risk_coverage(predictions([]), TASKS).is_empty()
