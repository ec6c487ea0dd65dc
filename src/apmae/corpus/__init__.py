"""Sources of code: a JDK, Python's standard library, a directory, an archive, a data set."""

from __future__ import annotations

from pathlib import Path

from apmae.corpus.files import Corpus, SkippedFile, SkipReason, SourceFile
from apmae.corpus.groups import of_listed_groups
from apmae.corpus.hub import hub_corpus
from apmae.corpus.jdk import fetch_jdk_sources, find_or_fetch_jdk_sources, jdk_cache, jdk_corpus
from apmae.corpus.local import archive_corpus, directory_corpus
from apmae.corpus.python_stdlib import python_stdlib_corpus
from apmae.study.config import CorpusConfig

__all__ = [
    "Corpus",
    "SkipReason",
    "SkippedFile",
    "SourceFile",
    "fetch_jdk_sources",
    "find_or_fetch_jdk_sources",
    "jdk_cache",
    "open_corpus",
]


def open_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """Find the source files that a study's config names, without reading them.

    Args:
        config: the study's section `corpus`.
        seed: the study's seed; the files' order derives from it.

    Raises:
        ApmaeError: the named source is missing, unreadable or has no file of the language.
    """
    opened = {
        "jdk": jdk_corpus,
        "python-stdlib": python_stdlib_corpus,
        "directory": directory_corpus,
        "archive": archive_corpus,
        "hub": hub_corpus,
    }
    corpus = opened[config.source](config, seed)
    return corpus if config.groups_file is None else of_listed_groups(corpus, Path(config.groups_file))
