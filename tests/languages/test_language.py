"""A language is one file, and the page about languages says what there is."""

import re
import shutil
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.languages import language as languages
from apmae.languages import language_named, language_names
from apmae.prompts import find_spans
from apmae.study.config import StudyConfig

PAGE = (Path(__file__).parents[2] / "docs" / "languages.md").read_text(encoding="utf-8")
SNAKE = """\
; suffixes: .snake .sn
; grammar: tree_sitter_python.language
; declaration_files: *_stub.sn

(identifier) @snakes
(call function: (identifier) @_no_task)
"""


@pytest.fixture
def queries(tmp_path, monkeypatch):
    """A directory with the languages that there are, to which a test can add."""
    directory = shutil.copytree(languages.QUERIES, tmp_path / "queries")
    monkeypatch.setattr(languages, "QUERIES", directory)
    language_named.cache_clear()
    yield directory
    language_named.cache_clear()


def test_adding_a_language_is_adding_a_file(queries):
    (queries / "snake.scm").write_text(SNAKE)
    assert language_names() == ["cpp", "java", "javascript", "python", "snake", "tsx", "typescript"]
    assert language_named("snake").tasks == ("eol", "snakes", "random", "noise")
    assert find_spans("a = b\n", "snake", ["snakes"])["snakes"] == [("snakes", 0, 1), ("snakes", 4, 5)]
    study = {"name": "s", "prompts": {"tasks": ["snakes", "eol", "noise"]}}
    files = {"source": "directory", "path": "."}
    StudyConfig.model_validate({**study, "corpus": {**files, "language": "snake"}})
    message = r"python has no task snakes; there are: assignment_operators, .*, noise"
    with pytest.raises(ValueError, match=message):
        StudyConfig.model_validate({**study, "corpus": {**files, "language": "python"}})


def test_inheriting_is_adding_to_anothers_query(queries):
    (queries / "adder.scm").write_text(SNAKE.replace("; decl", "; inherits: python\n; decl"))
    adder, python = language_named("adder"), language_named("python")
    assert set(adder.span_tasks) == {*python.span_tasks, "snakes"}
    assert (adder.suffixes, python.suffixes) == ((".snake", ".sn"), (".py",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(identifier) @a", r"wrong\.scm does not start with its suffixes and grammar"),
        (
            SNAKE.replace("; suffixes", "; endings"),
            r"wrong\.scm does not start with its suffixes and grammar",
        ),
        (SNAKE.replace("python", "latin"), "language wrong needs the package tree-sitter-latin: pip install"),
        (SNAKE.replace(".language", ".tongue"), r"wrong\.scm: .*has no attribute 'tongue'"),
        (SNAKE.replace("(call", "(shout"), r"wrong\.scm: Invalid node type at row \d+, column 1: shout"),
    ],
)
def test_a_wrong_file_is_one_clear_error(queries, text, message):
    (queries / "wrong.scm").write_text(text)
    with pytest.raises(ApmaeError, match=message) as caught:
        language_named("wrong")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("language", "sources", "others"),
    [
        ("java", ["p/A.java"], ["p/package-info.java", "module-info.java", "A.class"]),
        ("python", ["p/__init__.py"], ["a.pyi", "a.pyc"]),
        ("cpp", ["a.cc", "p/a.hpp", "a.h"], ["a.c", "a.cu"]),
        ("javascript", ["a.mjs", "p/a.jsx"], ["a.ts", "a.json"]),
        ("typescript", ["a.ts", "p/a.mts"], ["a.d.ts", "p/a.d.mts", "a.tsx"]),
        ("tsx", ["a.tsx"], ["a.ts"]),
    ],
)
def test_files_of_a_language(language, sources, others):
    assert [path for path in sources + others if language_named(language).is_source(path)] == sources


def test_the_table_of_tasks_is_that_of_the_queries():
    header, *rows = re.findall(r"^\| (?:task|`\w+`) \|.*$", PAGE, re.MULTILINE)
    names = [cell.strip() for cell in header.strip("|").split("|")][1:]
    table = {name: set() for name in names}
    for row in rows:
        task, *cells = [cell.strip().strip("`") for cell in row.strip("|").split("|")]
        for name, cell in zip(names, cells, strict=True):
            assert cell in {"yes", "no"}
            if cell == "yes":
                table[name].add(task)
    assert table == {name: set(language_named(name).tasks) for name in language_names()}


def test_the_pages_example_starts_as_a_file_has_to():
    lines = [line.strip() for line in re.search(r"```scheme\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()]
    assert [languages.HEADER_LINE.fullmatch(line)[1] for line in lines[: lines.index("")]] == [
        "suffixes",
        "grammar",
        "declaration_files",
    ]
    captures = set(re.findall(r"@(\w+)", "\n".join(lines)))
    for_all = {"_comment", "_text", "_excluded", "_function"}
    assert {*captures, "eol"} == {*language_named("python").span_tasks, *for_all}
