import pytest

from apmae.common.markdown import markdown_table


def test_a_table_has_a_heading_a_rule_and_rows():
    assert (
        markdown_table(("a", "b"), iter([("1", "2"), ["3", ""]]))
        == "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 |  |"
    )


def test_a_row_of_another_length_is_refused():
    with pytest.raises(AssertionError):
        markdown_table(("a", "b"), [("1",)])
