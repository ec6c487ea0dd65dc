"""Generated code before and after an intervention, in the report."""

import pytest

from apmae.report.chosen import generated_table
from apmae.study.artifacts import GENERATED


def holes(exact, parsed, task="eol"):
    """Holes of a group each: (before, after) of the two outcomes."""
    rows = [
        (task, f"F{number}.java", f"g{number}", 1, "x", "y", was[0], could[0], "z", was[1], could[1])
        for number, (was, could) in enumerate(zip(exact, parsed, strict=True))
    ]
    return GENERATED.of_rows(rows)


def test_fractions_and_changes_by_hand():
    gained, lost, same = (False, True), (True, False), (True, True)
    table = generated_table(holes([gained, gained, lost, same] * 10, [same, same, lost, same] * 10), 0)
    row = table.row(0, named=True)
    assert (row["task"], row["holes"]) == ("eol", 40)
    assert (row["exact_before"], row["exact_after"], row["exact_change"]) == (0.5, 0.75, 0.25)
    assert (row["parses_before"], row["parses_after"], row["parses_change"]) == (1.0, 0.75, -0.25)
    assert row["parses_change_low"] < -0.25 < row["parses_change_high"] < 0
    assert row["exact_change_low"] < 0.25 < row["exact_change_high"]


def test_no_change_has_an_interval_all_the_same():
    row = generated_table(holes([(True, True)] * 20, [(True, True)] * 20), 0).row(0, named=True)
    assert row["exact_change"] == 0
    assert row["exact_change_low"] < 0 < row["exact_change_high"]
    assert row["exact_change_high"] == pytest.approx(-row["exact_change_low"], abs=0.1)


def test_no_holes_are_no_rows():
    assert generated_table(GENERATED.of_rows(), 0).is_empty()
