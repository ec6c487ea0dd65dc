from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apmae.errors import ApmaeError
from apmae.tasks.spans import find_spans, span_tasks

TRAPS = Path(__file__).with_name("Traps.java").read_text(encoding="utf-8")

TEXT_BLOCK = 'He said "hi"; a + b \\n\n              // no comment\n            end'

EXPECTED = {
    "identifiers": [
        *[(1, "traps"), (3, "java"), (3, "util"), (3, "List"), (6, "SuppressWarnings"), (6, "value")],
        *[(7, "Traps"), (9, "NAME"), (10, "tabbed"), (11, "quote"), (11, "letter"), (11, "next")],
        *[(12, "empty"), (12, "escaped"), (14, "nested"), (14, "f"), (15, "r"), (15, "run"), (16, "bits")],
        *[(17, "d"), (18, "b"), (18, "d"), (18, "f"), (19, "b"), (19, "bits"), (19, "d"), (19, "bits")],
        *[(20, "i"), (20, "j"), (21, "bits"), (21, "bits"), (21, "x"), (21, "bits")],
        *[(23, "label"), (23, "k"), (23, "k"), (23, "k"), (24, "text")],
    ],
    "string_literals": [
        *[(6, "unchecked"), (9, "é漢😀"), (11, "\\'"), (11, "ß"), (12, 'a\\n\\"+\\" b'), (21, "é")],
        *[(21, "c"), (25, TEXT_BLOCK)],
    ],
    "boolean_literals": [(18, "true"), (19, "false")],
    "numeric_literals": [
        *[(10, "0x1F_FF"), (15, "1"), (15, "2"), (16, "1L"), (16, "3"), (16, "1"), (16, "0b101")],
        *[(17, "1_000.5e-3"), (17, "07"), (17, ".5f"), (17, "0x1p3"), (18, "1.0D")],
        *[(19, "2"), (19, "3"), (19, "4"), (21, "5"), (21, "6"), (21, "7")],
        *[(23, "0"), (23, "9"), (23, "1"), (27, "10")],
    ],
    "boolean_operators": [
        *[(18, "!"), (18, "||"), (18, "<="), (18, "&&"), (18, "!="), (19, "=="), (19, "&&"), (19, ">")],
        *[(19, "<"), (19, "||"), (19, ">="), (23, "<")],
    ],
    "mathematical_operators": [
        *[(15, "-"), (15, "-"), (15, "+"), (17, "*"), (17, "/"), (17, "%"), (21, "+"), (21, "+")],
        *[(23, "-"), (27, "+")],
    ],
    "assignment_operators": [
        *[(9, "="), (10, "="), (11, "="), (11, "="), (12, "="), (12, "="), (15, "="), (16, "=")],
        *[(17, "="), (18, "="), (21, "+="), (21, ">>>="), (21, "="), (23, "="), (23, "-="), (24, "=")],
    ],
    "closing_bracket": [
        *[(6, ")"), (14, ")"), (15, ")"), (15, ")"), (19, ")"), (21, "]"), (22, "}"), (23, ")"), (23, "}")],
        *[(28, ")"), (29, "}"), (30, "}")],
    ],
    "eol": [
        *[(3, "\n"), (6, "\n"), (7, "\n"), (9, "   \n"), (10, "\t\n"), (11, "\n"), (12, "\n"), (14, "\n")],
        *[(15, "\n"), (16, "\n"), (17, "\n"), (19, "\n"), (20, "\n"), (21, "\n"), (22, "\n"), (23, "\n")],
        *[(27, "\n"), (29, "\n")],
    ],
}


def lines_and_texts(source, task):
    spans = find_spans(source, "java", [task])[task]
    assert all(span.task == task for span in spans)
    assert spans == sorted(spans)
    return [(source.count("\n", 0, span.start) + 1, source[span.start : span.end]) for span in spans]


def test_every_task_of_the_language_has_an_expectation():
    assert span_tasks("java") == tuple(sorted(EXPECTED))


@pytest.mark.parametrize("task", EXPECTED)
def test_spans_of_the_traps(task):
    assert lines_and_texts(TRAPS, task) == EXPECTED[task]


@pytest.mark.parametrize("task", EXPECTED)
def test_spans_with_carriage_returns(task):
    expected = [(line, text.replace("\n", "\r\n")) for line, text in EXPECTED[task]]
    assert lines_and_texts(TRAPS.replace("\n", "\r\n"), task) == expected


def test_tasks_found_together_are_those_found_alone():
    together = find_spans(TRAPS, "java", list(EXPECTED))
    assert together == {task: find_spans(TRAPS, "java", [task])[task] for task in EXPECTED}


def test_spans_in_a_syntax_error_are_dropped_and_the_others_stay():
    source = "class A {\n  int a = 1;\n  void f() { int c = (7 + 8]; }\n  int b = 3;\n}\n"
    assert lines_and_texts(source, "numeric_literals") == [(2, "1"), (4, "3")]
    assert lines_and_texts(source, "mathematical_operators") == []
    assert lines_and_texts(source, "closing_bracket") == [(3, ")"), (3, "}"), (5, "}")]
    assert [text for _, text in lines_and_texts(source, "identifiers")] == ["A", "a", "f", "c", "b"]


def test_a_missing_token_is_no_span():
    source = "class A { int f() { return g(1; } }\n"
    assert lines_and_texts(source, "closing_bracket") == [(1, ")"), (1, "}"), (1, "}")]


def test_a_line_that_ends_in_a_syntax_error_has_no_eol():
    source = "class A {\n  int a;\n  #%\n  int b;\n}\n"
    assert lines_and_texts(source, "eol") == [(1, "\n"), (2, "\n"), (4, "\n"), (5, "\n")]


@pytest.mark.parametrize("source", ["", "\n", "  \n\n", "// comment\n", "/* a\n b */\n", "class A { }"])
def test_lines_without_eol(source):
    assert lines_and_texts(source, "eol") == []


def test_empty_literals_have_no_hole():
    source = 'class A { String a = "", b = """\n   """, c = " ", d = """\n   \n  x"""; }'
    assert [text for _, text in lines_and_texts(source, "string_literals")] == [" ", "x"]


@given(st.lists(st.sampled_from(["é", "漢", "😀", "a", "\n", "\r\n", "*", " "]), max_size=40))
def test_spans_count_characters_whatever_stands_before(comment):
    prefix = "/*" + "".join(comment).replace("*/", "") + "x*/"
    spans = find_spans(prefix + TRAPS, "java", list(EXPECTED))
    for task, shifted in find_spans(TRAPS, "java", list(EXPECTED)).items():
        assert [(s.start - len(prefix), s.end - len(prefix)) for s in spans[task]] == [
            (s.start, s.end) for s in shifted
        ]


def test_an_unknown_language_names_those_there_are():
    with pytest.raises(ApmaeError, match="unknown language 'cobol'; there are: java"):
        find_spans("", "cobol", ["eol"])
