"""The section on single tokens: its rows, and what is called significant."""

import polars as pl
import pytest
from helpers.finished_study import TOKEN_FEATURES, TOKEN_GAINS, TOKEN_RISKS, token_metrics

from apmae.figures import style
from apmae.report.data import ReportData
from apmae.report.sections import tokens


def test_rows_are_all_tokens_then_classes_by_size():
    rows = tokens.class_rows(token_metrics(), TOKEN_FEATURES)
    assert [row["syntax"] for row in rows] == ["all", "eol", "identifiers", "comment"]
    for row in rows:
        assert row["gain"] == TOKEN_GAINS[row["syntax"]][0]
        assert row["attention"] - row["without"] == pytest.approx(row["gain"])
        assert row["without"] - row["confidence"] == pytest.approx(0.01)


def test_risks_are_by_coverage_and_absent_where_an_earlier_version_measured():
    rows = tokens.risk_rows(token_metrics(), TOKEN_FEATURES)
    assert [(row["percent"], row["confidence"], row["without"], row["attention"]) for row in rows] == [
        (percent, risk + 0.002, risk, pytest.approx(risk - 0.01)) for percent, risk in TOKEN_RISKS.items()
    ]
    assert rows[0]["low"] == pytest.approx(-0.021)
    assert tokens.risk_rows(token_metrics().filter(metric="auroc"), TOKEN_FEATURES) == []


def test_significance_is_corrected_over_the_classes_with_enough_tokens():
    rows = {row["syntax"]: row for row in tokens.class_rows(token_metrics(), TOKEN_FEATURES)}
    # Of two classes: 0.004 * 2 and 0.03; comments are too few, and all tokens are no class.
    assert [name for name, row in rows.items() if row["significant"]] == ["eol", "identifiers"]
    more = token_metrics().vstack(
        token_metrics().filter(syntax="eol").with_columns(syntax=pl.lit("keywords"))
    )
    rows = {row["syntax"]: row for row in tokens.class_rows(more, TOKEN_FEATURES)}
    assert [name for name, row in rows.items() if row["significant"]] == ["identifiers"]


def test_the_figure_fills_what_is_significant_and_greys_what_is_no_claim():
    rows = tokens.class_rows(token_metrics(), TOKEN_FEATURES)
    _, gains = tokens.token_classes(rows, TOKEN_FEATURES).axes
    marks = {int(line.get_ydata()[0]): line for line in gains.lines if line.get_marker() != "None"}
    filled = [rows[place]["syntax"] for place, mark in marks.items() if mark.get_markerfacecolor() != "white"]
    assert filled == ["all", "eol", "identifiers"]
    grey = [rows[place]["syntax"] for place, mark in marks.items() if mark.get_color() == style.ABSENT]
    assert grey == ["comment"]
    assert [float(mark.get_xdata()[0]) for mark in marks.values()] == [row["gain"] for row in rows]


def test_a_study_without_a_predictor_has_no_section(made_up_study, tmp_path):
    class Without:
        def read_if_there(self, table):
            return None

    assert tokens.section(ReportData(made_up_study, [], "key")) is not None
    data = ReportData(made_up_study, [], "key")
    object.__setattr__(data, "study", Without())
    assert tokens.section(data) is None
