"""The supported programming languages: one `.scm` file each, and its reader."""

from apmae.languages.language import Language, language_named, language_names, language_of

__all__ = ["Language", "language_named", "language_names", "language_of"]
