"""A source file, and a corpus of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from apmae.common.errors import ApmaeError
from apmae.common.seeding import numpy_generator

SkipReason = Literal[
    "not UTF-8",
    "empty",
    "too large",
    "unreadable",
    "flagged",
    "no code",
    "generated",
    "minified",
    "duplicate",
    "near duplicate",
    "of another group",
]


class SourceFile(NamedTuple):
    """A file to mine prompts from."""

    path: str
    """`/`-separated, relative to the corpus."""
    group: str
    """Package or project. A group is never split."""
    text: str


class SkippedFile(NamedTuple):
    """A file that is not mined, and why."""

    path: str
    reason: SkipReason


@dataclass(frozen=True)
class Corpus:
    """Source files in a fixed order."""

    fingerprint: str
    """Identity of the files' names and contents, whatever their place and times."""
    description: str
    """Names the corpus for provenance and people. It does not depend on the path on disk."""
    read: Callable[[int], Iterator[SourceFile | SkippedFile]]
    """Yields every listed file from a position on."""
    max_files: int | None = None

    def files(self, start: int = 0) -> Iterator[tuple[int, SourceFile | SkippedFile]]:
        """The files from position `start` on, each with its position.

        Positions count every listed file, skipped files too, so a killed run can resume after the last file
        that it saw. Duplicates are not skipped here. The caller keeps the fingerprints it has seen together
        with its position, since finding them again would mean reading every file again.
        """
        left = None if self.max_files is None else max(0, self.max_files - start)
        return islice(enumerate(self.read(start), start), left)


def source_file(path: str, data: bytes, group: str | None = None) -> SourceFile | SkippedFile:
    """Decode a file, without its byte order mark. Its group is its directory by default."""
    path = printable(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return SkippedFile(path, "not UTF-8")
    if not text.strip():
        return SkippedFile(path, "empty")
    return SourceFile(path, group or path.rpartition("/")[0] or ".", text)


def printable(path: str) -> str:
    """A path without surrogates, which stand for undecodable bytes of a file name."""
    return path.encode("utf-8", "replace").decode()


def shuffled(paths: Sequence[str], seed: int) -> list[str]:
    """The sorted paths in an order drawn with the study's seed."""
    ordered = sorted(paths)
    return [ordered[index] for index in numpy_generator(seed, "corpus").permutation(len(ordered))]


def read_source(path: Path) -> str:
    """The text of a source file, without a byte order mark.

    Raises:
        ApmaeError: there is no such file, or it has no text.
    """
    try:
        source = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ApmaeError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ApmaeError(f"{path} is a directory; name a file") from None
    except UnicodeDecodeError:
        raise ApmaeError(f"{path} is not UTF-8 text") from None
    if not source.strip():
        raise ApmaeError(f"{path} is empty")
    return source
