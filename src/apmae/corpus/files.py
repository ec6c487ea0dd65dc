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
    """A file that prompts can be mined from."""

    path: str
    """`/`-separated, relative to the corpus."""
    group: str
    """Package or project; splits never cut through one."""
    text: str


class SkippedFile(NamedTuple):
    """A file that is not used."""

    path: str
    reason: SkipReason


@dataclass(frozen=True)
class Corpus:
    """Source files in a fixed order."""

    fingerprint: str
    """Changes when the files do; made without reading them."""
    description: str
    """What was found, for provenance and people; the same wherever it lies on the disk."""
    read: Callable[[int], Iterator[SourceFile | SkippedFile]]
    """Every listed file from a position on."""
    max_files: int | None = None

    def files(self, start: int = 0) -> Iterator[tuple[int, SourceFile | SkippedFile]]:
        """The files from position `start` on, each with its position.

        Positions count every listed file, skipped ones too, so that a killed run can go on behind
        the last one that it saw. Duplicates are not skipped here: whoever iterates keeps the digests
        it has seen beside its position, since finding them anew would mean to read all over again.
        """
        left = None if self.max_files is None else max(0, self.max_files - start)
        return islice(enumerate(self.read(start), start), left)


def source_file(path: str, data: bytes, group: str | None = None) -> SourceFile | SkippedFile:
    """Decode a file; its group is its directory unless given. A byte order mark is dropped."""
    path = printable(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return SkippedFile(path, "not UTF-8")
    if not text.strip():
        return SkippedFile(path, "empty")
    return SourceFile(path, group or path.rpartition("/")[0] or ".", text)


def printable(path: str) -> str:
    """A path without the surrogates that stand for undecodable bytes of a file name."""
    return path.encode("utf-8", "replace").decode()


def shuffled(paths: Sequence[str], seed: int) -> list[str]:
    """The sorted paths in an order drawn with the study's seed."""
    ordered = sorted(paths)
    return [ordered[index] for index in numpy_generator(seed, "corpus").permutation(len(ordered))]


def read_source(path: Path) -> str:
    """The text of a source file, without a byte order mark.

    Raises:
        ApmaeError: there is no such file, or no text in it.
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
