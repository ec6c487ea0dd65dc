from __future__ import annotations

import polars as pl
from helpers.finished_study import evaluation
from matplotlib.figure import Figure

from apmae.report.cross_evaluation import figure, markdown, short_names

MIXED = (("min_normalized", False), ("absolute", True), ("min_normalized", False))


def section(text: str, title: str) -> list[str]:
    """The rows of the matrix under a heading."""
    rest = text.partition(title)[2].partition("##")[0]
    return [line for line in rest.splitlines() if line.startswith("|")]


def colours(drawn: Figure) -> list[int]:
    """How many different values each panel shows as colours."""
    return [len(set(axes.images[0].get_array().compressed().tolist())) for axes in drawn.axes]


def test_the_matrix_is_written_as_in_the_paper() -> None:
    assert section(markdown(evaluation()), "## Loss (× 10⁻³)") == [
        "| encoder | target-0 | target-1 | target-2 |",
        "|---|---|---|---|",
        "| AP-MAE-0 | **7.07 (2.19)** | 7.78 (2.41) | 9.53 (2.95) |",
        "| AP-MAE-1 | 7.55 (2.34) | **7.17 (2.22)** | 9.29 (2.88) |",
        "| AP-MAE-2 | 9.57 (2.97) † | 10.05 (3.12) † | **7.59 (2.35)** † |",
        "| uniform attention |  |  |  |",
    ]
    errors = section(markdown(evaluation()), "## Error of log probability (nats)")
    assert errors[2] == "| AP-MAE-0 | **1.414 (0.361)** | 1.556 (0.397) | 1.906 (0.486) |"
    assert errors[-1] == "| uniform attention | 2.500 (0.400) | 2.500 (0.400) | 2.500 (0.400) |"
    mass = section(markdown(evaluation()), "## Misplaced attention (× 10⁻²)")
    assert mass[2] == "| AP-MAE-0 | **14.14 (7.07)** | 15.56 (7.78) | 19.06 (9.53) |"


def test_encoders_of_one_kind_can_be_compared_by_their_losses() -> None:
    assert "All encoders are of one kind (min_normalized)" in markdown(evaluation())
    assert colours(figure(evaluation())) == [9, 10, 10]


def test_losses_of_different_kinds_are_named_and_share_a_colour() -> None:
    text = markdown(evaluation(MIXED))
    assert "Compare losses only between encoders of one kind" in text
    names = [line.split(" | ")[0] for line in section(text, "## Loss (× 10⁻³)")[2:]]
    assert names == [
        "| AP-MAE-0 [min_normalized]",
        "| AP-MAE-1 [absolute, row tokens]",
        "| AP-MAE-2 [min_normalized]",
        "| uniform attention",
    ]
    drawn = figure(evaluation(MIXED))
    assert colours(drawn) == [1, 10, 10]
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()][
        1
    ] == "AP-MAE-1\nabsolute, row tokens"


def test_the_figure_has_every_number_own_targets_in_bold() -> None:
    texts = {text.get_text(): text.get_fontweight() for text in figure(evaluation()).axes[0].texts}
    assert texts.keys() - {""} == {text for text in texts if text[0:1].isdigit()}
    assert len(texts) == 10
    assert texts["7.07\n(2.19)"] == "bold"
    assert texts["7.78\n(2.41)"] == "normal"
    assert texts["7.59\n(2.35) †"] == "bold"


def test_one_cell_of_one_pattern() -> None:
    table = evaluation().head(1).with_columns(pl.lit(None, pl.Float64).alias("loss_std"))
    assert section(markdown(table), "## Loss (× 10⁻³)")[2] == "| AP-MAE-0 | **7.07** |"
    assert figure(table).axes[0].texts[0].get_text() == "7.07"


def test_names_are_short_where_that_tells_them_apart() -> None:
    assert short_names(["runs/a", "b", "hub/c"]) == ["a", "b", "c"]
    assert short_names(["runs/a/encoder", "runs/b/encoder"]) == ["runs/a/encoder", "runs/b/encoder"]
