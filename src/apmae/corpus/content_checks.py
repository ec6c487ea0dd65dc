"""Files that no person wrote, or that hold no code: what they are told by.

Everything is read off the text alone. What a file says of itself stands in its *header*, the comments
before the first code, or in a later comment that is not indented. Markers are looked for there alone:
code that writes generated files has them in its strings.
"""

from __future__ import annotations

import re

HEADER_PARTS = {
    "c": re.compile(r"\A#![^\n]*|\s+|//[^\n]*|/\*.*?\*/", re.DOTALL),
    "hash": re.compile(r"\s+|#[^\n]*|[rR]?\"\"\".*?\"\"\"|'''.*?'''", re.DOTALL),
}
"""A comment or blanks, by the way comments look, see `Language.comments`."""

MARGIN_COMMENT = re.compile(r"^(?://|/\*| ?\*|#).*", re.MULTILINE)
"""A line of a comment that is not indented: it is about the whole file or a type that is not nested."""

GENERATED_PHRASES = (
    "@generated",
    "do not edit",
    "(?:auto-?|(?:automatically|mechanically|machine)(?:-| ))generated (?:file|code)",
    "(?:this|the|following) (?:file|class|code|source) (?:is|was|has been) "
    "(?:(?!originally)\\w+ly )?(?:auto-?)?generated",
)
"""What generators write: protobuf, SWIG, JFlex, JAXB, Android, the JDK's templates.

A person who asks not to edit one part of the file is taken for one too.
"""
GENERATED_SENTENCE = r"^[^\w\n]*(?-i:Auto-?g|AUTO-?G|Code g|G)enerated (?:by|from|with|using)\b"
"""ANTLR, JavaCC, Thrift, Avro, Go. A line of prose that begins so has a small letter."""
GENERATED_START = r"\A[\W_]*generated (?:by|from|with|using)\b"
"""datamodel-codegen, and other small letters; prose is not how a file begins."""
GENERATED_COMMENT = re.compile(
    "|".join([*GENERATED_PHRASES, GENERATED_SENTENCE, GENERATED_START]).replace(" ", r"[\s*/#]+"),
    re.IGNORECASE | re.MULTILINE,
)
GENERATED_ANNOTATION = re.compile(r"^@(?:\w+\.)*(?:Avro|Auto)?Generated\b", re.MULTILINE)
"""gRPC, Avro, Dagger. On a member, which is indented, it says nothing of the others."""

LONG_LINE_CHARACTERS = 500
MINIFIED_WHITESPACE = 0.15
"""Below this share of white space; tables of data on long lines have more."""


def header(text: str, comments: str) -> str:
    """The comments before a file's first code; in Python docstrings too."""
    end = 0
    while part := HEADER_PARTS[comments].match(text, end):
        end = part.end()
    return text[:end]


def is_generated(header: str, code: str) -> bool:
    """Whether a comment on the whole file, or the annotation of a type, says that a program wrote it."""
    comments = "\n".join([header, *MARGIN_COMMENT.findall(code)])
    return bool(GENERATED_COMMENT.search(comments) or GENERATED_ANNOTATION.search(code))


def is_minified(text: str) -> bool:
    """Whether most of the text is on lines of more than 500 characters, nearly without white space."""
    lines = text.split("\n")
    on_long_lines = sum(len(line) for line in lines if len(line) > LONG_LINE_CHARACTERS)
    if on_long_lines <= len(text) / 2:
        return False
    return sum(map(str.isspace, text)) < MINIFIED_WHITESPACE * len(text)
