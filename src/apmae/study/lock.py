"""One process at a time works on a study."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apmae.common.errors import ApmaeError

LOCK = ".lock"


@contextmanager
def only_here(directory: Path) -> Iterator[None]:
    """Keep other processes from working in `directory`, which is made if it is not there.

    The system lifts the lock when the process ends, however it ends; the file says who had it last.

    Raises:
        ApmaeError: another process works there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise ApmaeError(f"{directory} is in use by {owner}: wait for it, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
