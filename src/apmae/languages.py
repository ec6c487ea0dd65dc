"""The programming languages that can be studied; the one home of what differs between them.

A further language is an entry here and `tasks/queries/<name>.scm`.
"""

from __future__ import annotations

from dataclasses import dataclass

from apmae.errors import ApmaeError


@dataclass(frozen=True)
class Language:
    """What a corpus and the task queries need to know of a language."""

    suffix: str
    """Ending of its file names."""
    grammar: str
    """Python package of its tree-sitter grammar."""
    declaration_files: frozenset[str] = frozenset()
    """Names of files that hold declarations about other files and no code."""

    def is_source(self, path: str) -> bool:
        """Whether a `/`-separated path names a file of this language that holds code."""
        return path.endswith(self.suffix) and path.rpartition("/")[2] not in self.declaration_files


LANGUAGES = {
    "java": Language(".java", "tree_sitter_java", frozenset({"package-info.java", "module-info.java"})),
}


def language_named(name: str) -> Language:
    """Look a language up.

    Raises:
        ApmaeError: there is none of that name.
    """
    if name not in LANGUAGES:
        raise ApmaeError(f"unknown language {name!r}; there are: {', '.join(sorted(LANGUAGES))}")
    return LANGUAGES[name]
