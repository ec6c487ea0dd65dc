"""A file's holes lie behind its header, and say where they stand in the file."""

import numpy as np
import pytest
from helpers.corpora import written_files
from helpers.tokenizers import byte_level_tokenizer

from apmae.prompts import FileHoles, PromptFormatter, prompts_of

_, BODY = next(written_files(methods=12))
HEADER = "/*\n * Licensed to whom it may concern: 1 + 1;\n */\n\n// and to all others\n"
TOKENIZER = byte_level_tokenizer(HEADER + BODY)
TASKS = ("eol", "identifiers", "random")


@pytest.fixture
def formatter():
    return PromptFormatter(TOKENIZER, "causal", 32)


def prompts(text, formatter):
    """Task, line, column, text and prompt of every hole."""
    holes = FileHoles(text, formatter, "java", TASKS)
    return [
        (task, holes.line(span), holes.column(span), holes.text(span), prompt)
        for task in TASKS
        for span, prompt in prompts_of(
            holes.document, holes.spans(task, np.random.default_rng(0), 20), formatter
        )
    ]


def test_a_header_has_no_hole_and_is_in_no_prompt(formatter):
    with_header, without = (prompts(text, formatter) for text in (HEADER + BODY, BODY))
    assert len(without) > 60
    moved = [(task, line + 5, *rest) for task, line, *rest in without]
    assert with_header == moved
    for task, line, column, text, _ in with_header:
        behind = "".join((HEADER + BODY).splitlines(keepends=True)[line - 1 :])[column - 1 :]
        assert behind.startswith(text), task


def test_a_comment_on_the_line_of_the_code_stays(formatter):
    holes = FileHoles("// licence\n/* kept */ " + BODY, formatter, "java", TASKS)
    assert holes.document.text.startswith("/* kept */ package")


def test_a_docstring_is_the_header_of_a_python_file(formatter):
    holes = FileHoles('"""About the file."""\n\nx = 1\n', formatter, "python", ["identifiers"])
    assert holes.document.text == "x = 1\n"
    (span,) = holes.spans("identifiers", np.random.default_rng(0), 1)
    assert (holes.line(span), holes.column(span)) == (3, 1)
