"""How a command ends: what a user can fix is one line on standard error and exit code 2."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

from apmae.common.errors import ApmaeError, ApmaeWarning


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Around a command: exit code 2 after what a user can fix, 130 after an interrupt, no traceback."""
    warnings.showwarning = _show_warning
    try:
        yield
    except ApmaeError as error:
        _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}; what was computed is kept, run the same command to go on")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command to go on\n")
        sys.exit(130)


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
