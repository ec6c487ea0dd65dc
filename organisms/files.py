"""Which files are trained on: a JDK's, but for held-out packages.

A package is held out by a hash of its name, so it is held out whatever the JDK's version. The draw is
another one than a study's split into training and test groups: a study restricted to held-out
packages still finds both.
"""

from __future__ import annotations

from typing import NamedTuple

from apmae.config import CorpusConfig
from apmae.corpus import SourceFile, open_corpus
from apmae.seeding import derive_seed

HELD_OUT_FRACTION = 0.2


class Files(NamedTuple):
    """Source files in the corpus's seeded order; no text is in both parts."""

    description: str
    training: list[SourceFile]
    held_out: list[SourceFile]


def is_held_out(group: str, seed: int) -> bool:
    """Whether the files of a package are kept from training."""
    return derive_seed(seed, "organisms", "held-out", group) / 2**32 < HELD_OUT_FRACTION


def read_files(config: CorpusConfig, seed: int) -> Files:
    """Read the corpus; of equal files the first is used, a held-out one before any other.

    Raises:
        ApmaeError: there is no such corpus.
    """
    corpus = open_corpus(config, seed)
    files = [file for _, file in corpus.files() if isinstance(file, SourceFile)]
    files.sort(key=lambda file: not is_held_out(file.group, seed))  # stable
    unique = {file.digest: file for file in reversed(files)}.values()
    parts: tuple[list[SourceFile], list[SourceFile]] = ([], [])
    for file in reversed(unique):
        parts[is_held_out(file.group, seed)].append(file)
    return Files(corpus.description, *parts)
