"""Every hole of hand-written sources, traps included: `traps.<language>.yaml` lists them by task and line."""

from pathlib import Path

import pytest
import yaml
from helpers.traps import SOURCES
from hypothesis import given
from hypothesis import strategies as st

from apmae.common.errors import ApmaeError
from apmae.languages import language_names
from apmae.prompts.spans import find_spans, span_tasks

HERE = Path(__file__).parent
EXPECTED = {
    language: yaml.safe_load((HERE / f"traps.{language}.yaml").read_text(encoding="utf-8"))
    for language in SOURCES
}
EVERY_TASK = [(language, task) for language, tasks in EXPECTED.items() for task in tasks]


def holes(source, language, task):
    """The texts of the holes by line."""
    spans = find_spans(source, language, [task])[task]
    assert all(span.task == task for span in spans)
    assert spans == sorted(set(spans))
    found = {}
    for span in spans:
        line = source.count("\n", 0, span.start) + 1
        found.setdefault(line, []).append(source[span.start : span.end])
    return found


def texts(source, language, task):
    return [text for line in holes(source, language, task).values() for text in line]


def test_every_task_of_every_language_has_an_expectation():
    assert {language: span_tasks(language) for language in language_names()} == {
        language: tuple(sorted(tasks)) for language, tasks in EXPECTED.items()
    }


@pytest.mark.parametrize(("language", "task"), EVERY_TASK)
def test_spans_of_the_traps(language, task):
    assert holes(SOURCES[language], language, task) == EXPECTED[language][task]


@pytest.mark.parametrize(("language", "task"), EVERY_TASK)
def test_spans_with_carriage_returns(language, task):
    expected = {
        line: [text.replace("\n", "\r\n") for text in found]
        for line, found in EXPECTED[language][task].items()
    }
    assert holes(SOURCES[language].replace("\n", "\r\n"), language, task) == expected


@pytest.mark.parametrize("language", SOURCES)
def test_tasks_found_together_are_those_found_alone(language):
    source, tasks = SOURCES[language], span_tasks(language)
    together = find_spans(source, language, tasks)
    assert together == {task: find_spans(source, language, [task])[task] for task in tasks}


BROKEN_SCRIPT = ("let a = 1;\nlet c = [7 + 8)];\nlet b = 3;\n", ["1", "7", "8", "3"], ["]"])
BROKEN = {
    "cpp": ("int a = 1;\nvoid f() { int c = (7 + 8]; }\nint b = 3;\n", ["1", "3"], [")", "}"]),
    "javascript": BROKEN_SCRIPT,
    "python": ("a = 1\ndef f():\n    return (7 + 8]\nb = 3\n", ["1", "3"], [")"]),
    "tsx": BROKEN_SCRIPT,
    "typescript": BROKEN_SCRIPT,
}


@pytest.mark.parametrize("language", BROKEN)
def test_spans_in_a_syntax_error_are_dropped_and_the_others_stay(language):
    source, numbers, brackets = BROKEN[language]
    assert texts(source, language, "numeric_literals") == numbers
    assert texts(source, language, "closing_bracket") == brackets


def test_spans_around_a_syntax_error_of_java():
    source = "class A {\n  int a = 1;\n  void f() { int c = (7 + 8]; }\n  int b = 3;\n}\n"
    assert holes(source, "java", "numeric_literals") == {2: ["1"], 4: ["3"]}
    assert holes(source, "java", "mathematical_operators") == {}
    assert holes(source, "java", "closing_bracket") == {3: [")", "}"], 5: ["}"]}
    assert texts(source, "java", "identifiers") == ["A", "a", "f", "c", "b"]


def test_a_missing_token_is_no_span():
    source = "class A { int f() { return g(1; } }\n"
    assert texts(source, "java", "closing_bracket") == [")", "}", "}"]


def test_a_line_that_ends_in_a_syntax_error_has_no_eol():
    source = "class A {\n  int a;\n  #%\n  int b;\n}\n"
    assert list(holes(source, "java", "eol")) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("language", "source"),
    [
        *[("java", text) for text in ("", "\n", "  \n\n", "// comment\n", "/* a\n b */\n", "class A { }")],
        *[
            ("python", text)
            for text in ("# comment\n", '"""A\nB"""\n', "'A' 'B' # comment\n", "x = 1 + \\\n2")
        ],
        *[("cpp", text) for text in ("// a \\\n b\n", "#define A \\\n  1")],
        *[("javascript", text) for text in ("<!-- comment\n", "`a\n${b}\n`", "'a\\\nb'")],
    ],
)
def test_lines_without_eol(language, source):
    assert holes(source, language, "eol") == {}


def test_code_within_a_template_has_line_ends():
    assert list(holes("`a\n${\nb\n}\n`\n", "javascript", "eol")) == [2, 3, 5]
    assert list(holes("f'''a\n{\nb\n}\n'''.c\n", "python", "eol")) == [2, 3, 5]


@pytest.mark.parametrize(
    ("language", "source", "expected"),
    [
        ("java", 'class A { String a = "", b = """\n   """, c = " ", d = """\n   \n  x"""; }', [" ", "x"]),
        ("python", "a = '', ' ', '''\n  \n  x''', '''\\\n  y\n''', '''\n\n'''", [" ", "x", "y\n"]),
        (
            "javascript",
            "a = ['', ' ', `\n  \n  x`, ``, `\n`, `$`, `a\\`\\${b}`]",
            [" ", "x", "$", "a\\`\\${b}"],
        ),
        ("cpp", 'auto a = "", b = " ", c = R"(\n  x)", d = R"()";', [" ", "x"]),
    ],
)
def test_where_the_contents_of_literals_start(language, source, expected):
    assert texts(source, language, "string_literals") == expected


CONTEXTUAL = [
    (
        "java",
        "sealed interface A permits B { }\nrecord B(int x) implements A { B { yield = record; } }\n"
        "class C { C() { this(1); } native void n(); }\n@interface D { int value() default 1; }\n",
        "sealed interface permits record implements class native @interface default",
        "B C n",
    ),
    (
        "python",
        "type = match(case)\ntype X = int\nasync with a as b: pass\ntry: pass\nexcept* E: assert x\n",
        "type async with as pass try pass except assert",
        "",
    ),
    (
        "cpp",
        "template <class T> requires C<T> concept final = true;\nvoid A::B<int>::f() const override;\n"
        "struct E final { static inline thread_local int override = sizeof(int); E(); ~E(); };\n",
        "template class requires concept const override struct final static inline thread_local sizeof",
        "f E",
    ),
    (
        "javascript",
        "let of = get, async = set;\nobject = { get a() {}, set b(c) {}, async *d() {}, 'e': () => 1 };\n"
        "label: do { continue label; } while (void 0);\n",
        "let get set async do continue while void",
        "a b d",
    ),
    (
        "typescript",
        "let type = namespace as const;\ninterface A { (x: void): void; get b(): any; c?(): never; }\n"
        "declare global { var d: unique symbol; }\nfunction e(this: F): asserts this is G;\n",
        "let as const interface get declare global var function asserts is",
        "b c e",
    ),
]


@pytest.mark.parametrize(("language", "source", "keywords", "names"), CONTEXTUAL)
def test_contextual_keywords_and_declared_functions(language, source, keywords, names):
    assert texts(source, language, "keywords") == keywords.split()
    assert texts(source, language, "function_name") == names.split()


@given(st.lists(st.sampled_from(["é", "漢", "😀", "a", "\n", "\r\n", "*", " "]), max_size=40))
def test_spans_count_characters_whatever_stands_before(comment):
    prefix = "/*" + "".join(comment).replace("*/", "") + "x*/"
    tasks = span_tasks("java")
    spans = find_spans(prefix + SOURCES["java"], "java", tasks)
    for task, shifted in find_spans(SOURCES["java"], "java", tasks).items():
        assert [(s.start - len(prefix), s.end - len(prefix)) for s in spans[task]] == [
            (s.start, s.end) for s in shifted
        ]


def test_an_unknown_language_names_those_there_are():
    message = "unknown language 'cobol'; there are: cpp, java, javascript, python, tsx, typescript"
    with pytest.raises(ApmaeError, match=message):
        find_spans("", "cobol", ["eol"])


def test_an_unknown_task_names_those_there_are():
    message = r"java has no task poetry; there are: assignment_operators, .*, string_literals$"
    with pytest.raises(ApmaeError, match=message):
        find_spans("", "java", ["eol", "poetry"])
