"""Which files are trained on: a JDK's, but for held-out packages.

1. A package is held out by a hash of its name, so it is held out whatever the JDK's version. The draw is
   another one than a study's split: a study of held-out packages has training and test groups too.
2. Files are judged as in a study (`apmae.corpus.hygiene`), the held-out ones first: generated files and
   duplicates are dropped, and of two near duplicates in different parts the held-out one stays.
3. Tables of words in many languages are no code. They would be half of the held-out windows of JDK 25 (1% of
   those trained on), and what the held-out loss speaks of.
"""

from __future__ import annotations

from typing import NamedTuple

from apmae.common.seeding import derive_seed
from apmae.corpus import SourceFile, open_corpus
from apmae.corpus.hygiene import Hygiene
from apmae.study.config import CorpusConfig

HELD_OUT_FRACTION = 0.2
WORD_TABLES = "jdk.localedata/"
"""How the groups of the JDK's tables of words begin."""


class Files(NamedTuple):
    """Source files in the corpus's seeded order; no file is like one of the other part."""

    description: str
    training: list[SourceFile]
    held_out: list[SourceFile]


def is_held_out(group: str, seed: int) -> bool:
    """Whether the files of a package are kept from training."""
    return derive_seed(seed, "organisms", "held-out", group) / 2**32 < HELD_OUT_FRACTION


def read_files(config: CorpusConfig, seed: int) -> Files:
    """Read and judge the corpus.

    Raises:
        ApmaeError: there is no such corpus.
    """
    corpus = open_corpus(config, seed)
    files = [file for _, file in corpus.files() if isinstance(file, SourceFile)]
    hygiene = Hygiene(config, seed)
    held_out = _kept([file for file in files if is_held_out(file.group, seed)], hygiene)
    training = _kept([file for file in files if not is_held_out(file.group, seed)], hygiene)
    code = [file for file in held_out if not file.group.startswith(WORD_TABLES)]
    return Files(corpus.description, training, code)


def _kept(files: list[SourceFile], hygiene: Hygiene) -> list[SourceFile]:
    return [file for file in hygiene.sift(files) if isinstance(file, SourceFile)]
