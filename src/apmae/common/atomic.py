"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
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
        code = None if isinstance(error, OSError) else _code_in(str(error))
        if code is None:
            raise
        raise OSError(code, os.strerror(code), str(final)) from error
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def _code_in(message: str) -> int | None:
    """The system's error that a library wraps, which only its words tell: Rust's have its number too."""
    if numbered := re.search(r"\(os error (\d+)\)", message):
        return int(numbered[1])
    return next((code for code in DISK_ERRORS if os.strerror(code) in message), None)


def write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write a table so that the file is either whole or not there."""
    with replacing(path) as temporary:
        table.write_parquet(temporary)


def read_parquet(path: Path) -> pl.DataFrame:
    """Read a table; a path with `[` or `*` in it is no pattern."""
    return pl.read_parquet(path, glob=False)


def saved_parquet(path: Path, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """A table from its file; it is made and written first where the file is not there."""
    if not path.exists():
        write_parquet(path, make())
    return read_parquet(path)


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
