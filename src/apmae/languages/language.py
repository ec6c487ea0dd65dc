"""The supported programming languages: one file each, `<name>.scm` beside this module.

Comment lines at the start of the file are its header. The rest is its tree-sitter query:

    ; suffixes: .java                          endings of its file names
    ; grammar: tree_sitter_java.language       the function that gives its grammar
    ; comments: hash                           `hash`, or `c`, the default
    ; declaration_files: package-info.java     patterns of names of files without code (optional)
    ; inherits: javascript                     the language whose query comes before its own (optional)

docs/languages.md says what the queries capture.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path

from tree_sitter import Language as Grammar
from tree_sitter import Query, QueryError

from apmae.common.errors import ApmaeError

QUERIES = Path(__file__).parent

HEADER_LINE = re.compile(r"; (suffixes|grammar|comments|declaration_files|inherits): (\S.*)")

TASKS_OF_EVERY_LANGUAGE = ("random", "noise")
"""Tasks with randomly drawn holes, whatever the syntax."""


@dataclass(frozen=True)
class Language:
    """A language, as a corpus and the tasks need it."""

    name: str
    suffixes: tuple[str, ...]
    """Endings of its file names."""
    declaration_files: tuple[str, ...]
    """Name patterns of files that hold declarations about other files and no code."""
    comments: str
    """Comment style: `c` (`//` and `/* */`) or `hash` (`#`, and strings in triple quotes)."""
    grammar: Grammar
    grammar_package: str
    """The distribution that contains its grammar."""
    query: Query

    def is_source(self, path: str) -> bool:
        """Whether a `/`-separated path names a file with code of this language."""
        name = path.rpartition("/")[2]
        return name.endswith(self.suffixes) and not any(
            fnmatchcase(name, pattern) for pattern in self.declaration_files
        )

    @property
    def file_kind(self) -> str:
        """Its suffixes in words: `.cpp/.hpp`."""
        return "/".join(self.suffixes)

    @cached_property
    def span_tasks(self) -> tuple[str, ...]:
        """The tasks whose holes come from the syntax, sorted by name: the query's captures, and `eol`."""
        captures = {self.query.capture_name(index) for index in range(self.query.capture_count)}
        return tuple(sorted({name for name in captures if not name.startswith("_")} | {"eol"}))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that prompts of this language can have."""
        return (*self.span_tasks, *TASKS_OF_EVERY_LANGUAGE)


def language_names() -> list[str]:
    """The supported languages, sorted by name."""
    return sorted(path.stem for path in QUERIES.glob("*.scm"))


def language_of(file_name: str) -> str | None:
    """The supported language that a file's name says; None if it says none."""
    names = (name for name in language_names() if file_name.endswith(language_named(name).suffixes))
    return next(names, None)


@lru_cache
def language_named(name: str) -> Language:
    """Look a language up.

    Raises:
        ApmaeError: the language is unknown, its grammar is not installed, or its file is wrong.
    """
    if name not in language_names():
        raise ApmaeError(f"unknown language {name!r}; there are: {', '.join(language_names())}")
    header, patterns = _read(name)
    if not {"suffixes", "grammar"} <= header.keys():
        raise ApmaeError(f"{name}.scm does not start with its suffixes and grammar, see docs/languages.md")
    module, _, function = header["grammar"].rpartition(".")
    package = module.replace("_", "-")
    try:
        grammar = Grammar(getattr(importlib.import_module(module), function)())
        query = Query(grammar, patterns)
    except ModuleNotFoundError:
        raise ApmaeError(f"the language {name} needs the package {package}: pip install {package}") from None
    except (AttributeError, QueryError) as error:
        raise ApmaeError(f"{name}.scm: {' '.join(str(error).split())}") from None
    return Language(
        name=name,
        suffixes=tuple(header["suffixes"].split()),
        declaration_files=tuple(header.get("declaration_files", "").split()),
        comments=header.get("comments", "c"),
        grammar=grammar,
        grammar_package=package,
        query=query,
    )


def _read(name: str) -> tuple[dict[str, str], str]:
    """The header of a language's file, and its query after that of the language it inherits from."""
    patterns = (QUERIES / f"{name}.scm").read_text(encoding="utf-8")
    lines = takewhile(bool, map(HEADER_LINE.fullmatch, patterns.splitlines()))
    header = {line[1]: line[2] for line in lines if line}
    if "inherits" in header:
        patterns = _read(header["inherits"])[1] + patterns
    return header, patterns
