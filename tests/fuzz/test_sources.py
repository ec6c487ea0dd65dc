"""Sources of every kind of nonsense: no exception, no wrong position, no time that grows with the square.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random
import time

import pytest
from helpers.traps import SOURCES

from apmae.corpus.content_checks import header
from apmae.corpus.duplicates import fingerprint
from apmae.languages import language_named, language_names
from apmae.prompts import find_comments, find_functions, find_spans, span_tasks
from apmae.prompts.spans import DEEPEST

TRIALS = int(os.environ.get("APMAE_FUZZ", "400")) // 6 // 2
PIECES = (
    *(
        "\r\n",
        "\r",
        "\ufeff",
        "\0",
        "\u202e",
        "\u2028",
        "\x0b",
        "\x0c",
        "日本",
        "e\u0301",
        "\U0001f600",
        "\ud800",
        "\t",
    ),
    *(
        '"',
        "'",
        "`",
        '"""',
        "/*",
        "*/",
        "//",
        "#",
        "{",
        "}",
        "(",
        ")",
        "<",
        ">",
        "\\",
        "\\\n",
        "${",
        'R"x(',
        "\n" * 30,
    ),
)


def mutated(source, generator):
    """A source with a few pieces put in, taken out, doubled or nested."""
    for _ in range(generator.randint(1, 6)):
        start = generator.randint(0, len(source))
        end = min(len(source), start + generator.randint(0, 80))
        match generator.randrange(5):
            case 0:
                source = source[:start] + generator.choice(PIECES) + source[start:]
            case 1:
                source = source[:start] + source[end:]
            case 2:
                source = source[:start] + source[start:end] * generator.randint(2, 20) + source[end:]
            case 3:
                depth = generator.randint(1, 300)
                source = source[:start] + "(" * depth + source[start:end] + ")" * depth + source[end:]
            case _:
                source = source[:start]
    return source


@pytest.mark.parametrize("language", language_names())
def test_positions_are_those_of_the_text(language):
    generator = random.Random(0)
    comments = language_named(language).comments
    for _ in range(TRIALS):
        # A corpus has no lone surrogates: what is not UTF-8 is skipped.
        source = mutated(SOURCES[language], generator).encode("utf-8", "ignore").decode()
        assert source.startswith(header(source, comments))
        fingerprint(source, source, 0)
        for found in (
            *find_spans(source, language, span_tasks(language)).values(),
            find_comments(source, language),
        ):
            for span in found:
                assert 0 <= span.start < span.end <= len(source)
            assert [span.start for span in found] == sorted(span.start for span in found)
        for task, text in {"closing_bracket": ")]}", "eol": "\n"}.items():
            for span in find_spans(source, language, [task])[task]:
                assert source[span.start : span.end][-1] in text
        for function in find_functions(source, language):
            assert function.name in source[function.start : function.end]


def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began


DEEP = {
    "java": lambda n: "class A { String s = " + " + ".join(['"a"'] * n) + "; }",
    "python": lambda n: "s = " + " + ".join(['"a"'] * n),
    "javascript": lambda n: "let s = " + " + ".join(['"a"'] * n) + ";",
    "typescript": lambda n: "let s = " + " + ".join(['"a"'] * n) + ";",
    "tsx": lambda n: "let s = " + " + ".join(['"a"'] * n) + ";",
    "cpp": lambda n: "auto s = " + " + ".join(['"a"'] * n) + ";",
}


@pytest.mark.parametrize("language", language_names())
def test_time_does_not_grow_with_the_square_of_the_depth(language):
    """Ten times as deep: ten times the time and not a hundred."""
    small, large = (DEEP[language](n) for n in (400, 4_000))
    find_spans(small, language, ["string_literals"])
    at_small = min(seconds(lambda: find_spans(small, language, ["string_literals"])) for _ in range(3))
    assert seconds(lambda: find_spans(large, language, ["string_literals"])) < 50 * at_small


def test_what_lies_too_deep_is_no_hole():
    def found(depth):
        nested = "(" * depth + "1" + ")" * depth
        source = f"class A {{ int f() {{ return {nested}; }} int g() {{ return 2; }} }}"
        spans = find_spans(source, "java", ["numeric_literals"])["numeric_literals"]
        return [source[span.start : span.end] for span in spans]

    assert found(2 * DEEPEST) == ["2"]
    assert found(DEEPEST // 2) == ["1", "2"]


@pytest.mark.parametrize("unit", ['\\"', "\\'", "'\\", '"', "/*", '"""', "#"])
@pytest.mark.parametrize(
    "work",
    [lambda text: fingerprint(text, text, 0), lambda text: [header(text, style) for style in ("c", "hash")]],
    ids=["fingerprint", "header"],
)
def test_time_does_not_grow_with_the_square_of_what_is_never_closed(unit, work):
    small, large = (unit * n for n in (1_000, 10_000))
    work(small)
    at_small = min(seconds(lambda: work(small)) for _ in range(3))
    assert seconds(lambda: work(large)) < 50 * at_small + 0.05
