"""The standard library of the running Python, a corpus that every machine has."""

from __future__ import annotations

import platform
import sysconfig
from dataclasses import replace
from pathlib import Path

from apmae.corpus.files import Corpus
from apmae.corpus.local import tree_corpus
from apmae.languages import language_named
from apmae.study.config import CorpusConfig

LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
"""Directories of installed packages and tests. Some tests are broken on purpose, some systems lack them."""


def python_stdlib_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """The `.py` files of the standard library. A file's group is its top-level package or module."""
    version = platform.python_version()
    corpus = tree_corpus(
        Path(sysconfig.get_path("stdlib")),
        language_named(config.language),
        config,
        seed,
        name=f"standard library of Python {version}",
        left_out=LEFT_OUT,
        group_of=_top_level,
    )
    return replace(corpus, fingerprint=f"python-stdlib:{version}:{corpus.fingerprint}")


def _top_level(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")
