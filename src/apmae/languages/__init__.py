"""The programming languages that can be studied: one `.scm` file each, and what reads it."""

from apmae.languages.language import Language, language_named, language_names

__all__ = ["Language", "language_named", "language_names"]
