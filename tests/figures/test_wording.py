from __future__ import annotations

import pytest

from apmae.common.errors import ApmaeError
from apmae.figures import wording


@pytest.mark.parametrize(
    ("change", "text"), [(0.0123, "+1.2"), (-0.5, "−50.0"), (0.0, "0.0"), (-0.0004, "0.0"), (None, "unknown")]
)
def test_points(change: float | None, text: str) -> None:
    assert wording.points(change) == text


def test_points_interval() -> None:
    assert wording.points_interval(-0.01, 0.02) == "[−1.0, +2.0]"
    assert wording.points_interval(None, None) == ""


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (2, 5, "2 of 5 tasks"),
        (5, 5, "all 5 tasks"),
        (0, 5, "none of 5 tasks"),
        (1, 1, "the one task"),
        (0, 1, "no task"),
    ],
)
def test_out_of(part: int, whole: int, text: str) -> None:
    assert wording.out_of(part, whole, "task") == text


def test_visible_shows_line_ends_and_cuts() -> None:
    assert wording.visible(";\r\n\tx\r") == ";↵⇥x↵"
    assert wording.visible("a" * 500) == "a" * 159 + "…"


def test_names() -> None:
    assert wording.readable("confidence+row_statistics") == "confidence + row statistics"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert wording.listed(["a"]) == "a"


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.34, "2.3 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s"), (7320, "2 h 2 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_heads_are_read_as_they_are_written():
    heads = [(12, 3), (0, 0)]
    assert wording.heads_named(",".join(wording.head_name(*head) for head in heads)) == heads


@pytest.mark.parametrize("text", ["", "L12", "12.3", "L1H2,", "L1H2 L3H4", "LaHb", "L-1H2", "12:3"])
def test_heads_in_other_writing_are_refused(text):
    with pytest.raises(ApmaeError, match="write them as L5H6,L7H0"):
        wording.heads_named(text)
