"""Checks on the content of a file: whether a program wrote it, whether it is minified.

The checks read the text alone. A file describes itself in its *header*, the comments before the first code,
or in a later comment that is not indented. Only these are searched for markers, since code that writes
generated files has markers in its strings.
"""

from __future__ import annotations

import re

HEADER_PARTS = {
    "c": re.compile(r"\A#![^\n]*|\s+|//[^\n]*|/\*.*?\*/", re.DOTALL),
    "hash": re.compile(r"\s+|#[^\n]*|[rR]?\"\"\".*?\"\"\"|'''.*?'''", re.DOTALL),
}
"""A comment or blanks, by the language's comment style (`Language.comments`)."""

MARGIN_COMMENT = re.compile(r"^(?://|/\*| ?\*|#).*", re.MULTILINE)
"""A comment line that is not indented. It is about the whole file or a top-level type."""

GENERATED_PHRASES = (
    "@generated",
    "do not edit",
    "(?:auto-?|(?:automatically|mechanically|machine)(?:-| ))generated (?:file|code)",
    "(?:this|the|following) (?:file|class|code|source) (?:is|was|has been) "
    "(?:(?!originally)\\w+ly )?(?:auto-?)?generated",
)
"""Phrases that generators write: protobuf, SWIG, JFlex, JAXB, Android, the JDK's templates.

They also match a person who asks not to edit one part of a file.
"""
GENERATED_SENTENCE = r"^[^\w\n]*(?-i:Auto-?g|AUTO-?G|Code g|G)enerated (?:by|from|with|using)\b"
"""ANTLR, JavaCC, Thrift, Avro, Go. A line of prose with these words starts with a small letter."""
GENERATED_START = r"\A[\W_]*generated (?:by|from|with|using)\b"
"""datamodel-codegen and other generators that write small letters. A file does not begin with prose."""
GENERATED_COMMENT = re.compile(
    "|".join([*GENERATED_PHRASES, GENERATED_SENTENCE, GENERATED_START]).replace(" ", r"[\s*/#]+"),
    re.IGNORECASE | re.MULTILINE,
)
GENERATED_ANNOTATION = re.compile(r"^@(?:\w+\.)*(?:Avro|Auto)?Generated\b", re.MULTILINE)
"""gRPC, Avro, Dagger. An indented annotation is a member's and does not apply to the rest of the file."""

LONG_LINE_CHARACTERS = 500
MINIFIED_WHITESPACE = 0.15
"""A minified text has a smaller fraction of white space. Tables of data on long lines have more."""


def header(text: str, comments: str) -> str:
    """The comments before a file's first code, including docstrings in Python."""
    end = 0
    while part := HEADER_PARTS[comments].match(text, end):
        end = part.end()
    return text[:end]


def is_generated(header: str, code: str) -> bool:
    """Whether a comment on the whole file, or a type's annotation, says that a program wrote it."""
    comments = "\n".join([header, *MARGIN_COMMENT.findall(code)])
    return bool(GENERATED_COMMENT.search(comments) or GENERATED_ANNOTATION.search(code))


def is_minified(text: str) -> bool:
    """Whether most of the text is on lines of more than 500 characters with hardly any white space."""
    lines = text.split("\n")
    on_long_lines = sum(len(line) for line in lines if len(line) > LONG_LINE_CHARACTERS)
    if on_long_lines <= len(text) / 2:
        return False
    return sum(map(str.isspace, text)) < MINIFIED_WHITESPACE * len(text)
