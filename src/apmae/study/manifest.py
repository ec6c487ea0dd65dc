"""What a finished stage left: every file with its size and checksum, so that damage is seen.

Sizes are looked at whenever an artifact is opened; contents are read where a stage is about to build on them,
and where somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from apmae.common.checksum import checksum_of

Manifest = Mapping[str, tuple[int, str]]
"""Size in bytes and checksum of every file, by its `/`-separated path in the study's directory."""


def manifest_of(directory: Path, artifacts: Iterable[str]) -> Manifest:
    """The files of some artifacts, which are files, directories, or not there."""
    return {
        name: (path.stat().st_size, checksum_of(path))
        for name, path in sorted(_files(directory, artifacts).items())
    }


def damaged(
    directory: Path, artifacts: Iterable[str], manifest: Manifest, *, contents: bool = False
) -> Iterator[str]:
    """Every file that is not as it was recorded: its path, and what is wrong.

    Args:
        artifacts: files that lie in one of them and were not recorded are wrong too.
        contents: read the files, instead of looking at their sizes alone.
    """
    there = _files(directory, artifacts)
    for name, (size, checksum) in manifest.items():
        path = there.pop(name, None)
        if path is None:
            yield f"{directory / name} is gone"
        elif (found := path.stat().st_size) != size:
            yield f"{path} has {found:,} bytes and had {size:,}"
        elif contents and checksum_of(path) != checksum:
            yield f"{path} has another content than was written"
    yield from (f"{path} was not there" for path in there.values())


def _files(directory: Path, artifacts: Iterable[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for artifact in artifacts:
        root = directory / artifact
        paths = [root] if root.is_file() else root.rglob("*")
        found |= {path.relative_to(directory).as_posix(): path for path in paths if path.is_file()}
    return found
