"""Values by hand and against scikit-learn; differences are paired; the page that shows them."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from apmae.common.errors import ApmaeError
from experiments.encoder_variants import page
from experiments.encoder_variants.comparison import COMPARISON_SCHEMA, compare

TASKS = ("eol", "identifiers")


@pytest.fixture(scope="module")
def prompts():
    generator = np.random.default_rng(0)
    count = 240
    return pl.DataFrame(
        {
            "prompt_id": np.arange(count),
            "task": np.array(TASKS)[np.arange(count) % 2],
            "group": [f"g{number}" for number in generator.integers(0, 40, count)],
            "correct": generator.random(count) < 0.5,
        }
    )


def predictions(prompts, strengths, seed=1):
    """Probabilities that know the outcome, the better the larger the strength of a feature set."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=len(prompts))
    tables = [
        prompts.select(
            "task",
            "prompt_id",
            features=pl.lit(features),
            fold=pl.col("prompt_id") % 5,
            probability=1 / (1 + np.exp(-noise - strength * (2 * prompts["correct"].to_numpy() - 1))),
        )
        for features, strength in strengths.items()
    ]
    return pl.concat([table.sample(fraction=1, shuffle=True, seed=0) for table in tables])


@pytest.fixture(scope="module")
def compared(prompts):
    base = {"cls_encodings": 0.5, "row_encodings": 1.0, "row_statistics": 1.0, "confidence": 0.0}
    other = {"cls_encodings": 1.0, "row_encodings": 1.0}
    by_variant = {"base": predictions(prompts, base), "other": predictions(prompts, other)}
    return compare(prompts, by_variant, 0), by_variant


def one(table, **filters):
    (row,) = table.filter(**filters).iter_rows(named=True)
    return row


def test_values_are_scikit_learns(prompts, compared):
    table, by_variant = compared
    assert table.schema == COMPARISON_SCHEMA
    given = by_variant["base"].filter(features="cls_encodings").join(prompts, ["prompt_id", "task"])
    for task in TASKS:
        rows = given.filter(task=task)
        hits = ((rows["probability"] > 0.5) == rows["correct"]).mean()
        found = one(
            table, variant="base", features="cls_encodings", task=task, difference_from="", metric="accuracy"
        )
        assert found["value"] == pytest.approx(hits)
        folds = [fold for _, fold in rows.group_by("fold")]
        pairs = [fold["correct"].sum() * (~fold["correct"]).sum() for fold in folds]
        within = [roc_auc_score(fold["correct"], fold["probability"]) for fold in folds]
        found = one(
            table, variant="base", features="cls_encodings", task=task, difference_from="", metric="auroc"
        )
        assert found["value"] == pytest.approx(np.average(within, weights=pairs))
        assert found["low"] < found["value"] < found["high"]


def test_the_order_of_predictions_does_not_matter(prompts, compared):
    table, by_variant = compared
    in_order = {name: rows.sort("features", "prompt_id") for name, rows in by_variant.items()}
    other = compare(prompts, in_order, 0)
    keys = ["variant", "features", "metric", "task", "difference_from"]
    assert other.sort(keys).equals(table.sort(keys))


def test_the_mean_is_that_of_the_tasks(compared):
    table, _ = compared
    rows = table.filter(variant="other", features="row_encodings", metric="auroc", difference_from="")
    of_tasks = rows.filter(pl.col("task") != "mean")["value"]
    assert one(rows, task="mean")["value"] == pytest.approx(of_tasks.mean())


def test_differences_are_paired(compared):
    """Equal predictions differ by exactly nothing, and better ones by what their values say."""
    table, _ = compared
    mean = table.filter(task="mean", metric="auroc")
    same = one(mean, variant="other", features="row_encodings", difference_from="base")
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    same = one(mean, variant="base", features="row_encodings", difference_from="row_statistics")
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    better = one(mean, variant="other", features="cls_encodings", difference_from="base")
    values = [
        one(mean, variant=name, features="cls_encodings", difference_from="")["value"]
        for name in ("other", "base")
    ]
    assert better["value"] == pytest.approx(values[0] - values[1])
    assert better["low"] > 0
    readout = one(mean, variant="base", features="row_encodings", difference_from="cls")
    assert readout["low"] > 0


def test_baselines_belong_to_no_variant_and_nothing_is_compared_with_itself(compared):
    table, _ = compared
    baselines = table.filter(pl.col("features").is_in(["row_statistics", "confidence"]))
    assert set(baselines["variant"]) == {""}
    assert set(baselines["difference_from"]) == {""}
    assert "base" not in set(table.filter(variant="base")["difference_from"])
    assert "cls" not in set(table.filter(features="cls_encodings")["difference_from"])


def test_tables_go_between_the_markers(tmp_path, compared):
    table, _ = compared
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    difference = table.filter(task="mean", metric="auroc", difference_from="base")
    text = page.table_of(difference, signed=True)
    page.put_into(path, text)
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    assert "| variant | cls, linear | row, linear |" in lines
    (row,) = (line for line in lines if line.startswith("| `other` |"))
    cells = row.split(" | ")
    assert cells[1].startswith("**+0.")
    assert cells[2] == "+0.000 [+0.000, +0.000] |"
    path.write_text("nothing")
    with pytest.raises(ApmaeError, match="no lines <!-- made by"):
        page.put_into(path, text)
