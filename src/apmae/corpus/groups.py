"""A corpus narrowed to listed groups, for example the packages that a target was not trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from apmae.common.errors import ApmaeError
from apmae.corpus.files import Corpus, SkippedFile, SourceFile


def of_listed_groups(corpus: Corpus, path: Path) -> Corpus:
    """The same corpus, skipping every file whose group the text file `path` does not list.

    Raises:
        ApmaeError: the file cannot be read, or lists nothing.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ApmaeError(f"corpus.groups_file: {path} cannot be read ({error})") from None
    groups = frozenset(line.strip() for line in lines) - {""}
    if not groups:
        raise ApmaeError(f"corpus.groups_file: {path} lists no group")
    digest = hashlib.blake2b("\n".join(sorted(groups)).encode(), digest_size=8).hexdigest()
    return replace(
        corpus,
        fingerprint=f"{corpus.fingerprint}:groups:{digest}",
        description=f"{corpus.description}, {len(groups):,} groups listed in {path.name}",
        read=partial(_read, corpus, groups),
    )


def _read(corpus: Corpus, groups: frozenset[str], start: int) -> Iterator[SourceFile | SkippedFile]:
    for file in corpus.read(start):
        if isinstance(file, SourceFile) and file.group not in groups:
            yield SkippedFile(file.path, "of another group")
        else:
            yield file
