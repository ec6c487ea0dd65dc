"""Places, each with the hole that a reader of the file would expect."""

import pytest

from apmae.common.errors import ApmaeError
from apmae.viewer import read_hole

HOLES = {
    "first non-blank character": ("a\n\n  b = c;  \nd\n", "3", (3, "b = c;", 5)),
    "a column": ("a\n\n  b = c;  \nd\n", "3:7", (7, "c;", 9)),
    "a tab is one column": ("\t\tint a;\n", "1", (3, "int a;", 2)),
    "Windows line ends": ("a;\r\n  b;\r\n", "2", (3, "b;", 6)),
    "no line break at the end": ("a\nbc", "2:2", (2, "c", 3)),
    "characters, not bytes": ("// é中𝕏\n  é = 1;\n", "2", (3, "é = 1;", 9)),
    "separators that are no line ends": ("a\u2028b\x0bc\nd\n", "2", (1, "d", 6)),
    "a byte order mark": ("\ufeffa;\nb;\n", "1", (1, "a;", 0)),
}


@pytest.mark.parametrize(("text", "place", "expected"), HOLES.values(), ids=HOLES.keys())
def test_hole_of_a_place(tmp_path, text, place, expected):
    path = tmp_path / "a:1" / "A.java"
    path.parent.mkdir()
    path.write_bytes(text.encode())
    hole = read_hole(f"{path}:{place}")
    column, hole_text, start = expected
    assert (hole.column, hole.text, hole.span.start) == (column, hole_text, start)
    assert hole.line == int(place.partition(":")[0])
    assert hole.source[hole.line_start : hole.span.start].strip() in ("", "b =", "b")


WRONG = {
    "no line": ("A.java", "name a place as FILE:LINE or FILE:LINE:COLUMN"),
    "line in words": ("A.java:two", "name a place as FILE:LINE"),
    "no such file": ("B.java:1", "B.java: no such file"),
    "a directory": (".:1", "is a directory"),
    "line 0": ("A.java:0", "has no line 0: its lines are 1 to 3"),
    "a line behind the last": ("A.java:4", "has no line 4: its lines are 1 to 3"),
    "a blank line": ("A.java:2", "A.java:2 is blank"),
    "column 0": ("A.java:3:0", "has no column 0: its columns are 1 to 4"),
    "a column behind the code": ("A.java:3:5", "has no column 5: its columns are 1 to 4"),
    "not text": ("A.class:1", "A.class is not UTF-8 text"),
    "empty": ("E.java:1", "E.java is empty"),
}


@pytest.mark.parametrize(("place", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_places_are_one_line(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A.java").write_text("a;\n \t\n  b;  \n")
    (tmp_path / "A.class").write_bytes(b"\xca\xfe\xba\xbe\n")
    (tmp_path / "E.java").write_text("\n \n")
    with pytest.raises(ApmaeError) as error:
        read_hole(place)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
