"""How a command ends: what a user can fix is one line on standard error and exit code 2.

An interrupt and a request to end (SIGINT, SIGTERM) are one line too, and the codes that shells give them.
They are raised as `Stopped`, which libraries that catch `KeyboardInterrupt`, such as Typer, let through.
"""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn, TextIO

from apmae.common.errors import ApmaeError, ApmaeWarning

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "told to end"}


class Stopped(BaseException):
    """A signal asked the process to end.

    Attributes:
        signal: which one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Around a command: exit code 2 after what a user can fix, 128 and more after a signal, no traceback."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # sources have characters that a terminal may not
    try:
        with _signals_raised():
            yield
    except ApmaeError as error:
        _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; what was computed is kept, run the same command to go on")
    except Stopped as stopped:
        sys.stderr.write(f"{SIGNALS[stopped.signal]}; run the same command to go on\n")
        sys.exit(128 + stopped.signal)


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Raise `Stopped` for the first signal within the block; a second one ends the process at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(2)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings in one line, without the place in the code that gives them."""
    ours = issubclass(category, ApmaeWarning)
    text = (
        f"warning: {message}\n" if ours else warnings.formatwarning(message, category, filename, lineno, line)
    )
    (file or sys.stderr).write(text)
