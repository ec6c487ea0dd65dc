"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

TEMPORARY = ".writing-"
"""How temporary directories' names begin, so that what a killed write left can be told."""


@contextmanager
def replacing(final: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `final`; renamed to it when the block ends well.

    An earlier directory is moved aside first and removed last, so that two renames are all that a kill can
    come between.

    Args:
        durable: have the system write the contents to its disk before the rename, so that a machine that
            loses its power keeps either.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=final.parent)) / final.name
    try:
        yield temporary
        if durable:
            _flush(temporary)
        if final.is_dir():
            final.rename(temporary.parent / f"{final.name}.old")
        temporary.replace(final)
        if durable:
            _sync(final.parent)
    except Exception as error:
        # Libraries written in Rust wrap the system's error; its words are all that is left of it.
        full = os.strerror(errno.ENOSPC)
        if full in str(error):
            raise OSError(errno.ENOSPC, full, str(final)) from error
        raise
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table so that the file is either whole or not there."""
    with replacing(path) as temporary:
        table.write_parquet(temporary)


def read_parquet(path: Path) -> pl.DataFrame:
    """Read a table; a path with `[` or `*` in it is no pattern."""
    return pl.read_parquet(path, glob=False)


def _flush(root: Path) -> None:
    """Write a file, or a directory with all that it holds, to the disk."""
    for path in [*root.rglob("*"), root]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
