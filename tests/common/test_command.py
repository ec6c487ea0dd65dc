"""How a command ends: one line and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import signal

import pytest
import typer

from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ApmaeError("no such study;\n  write one"), 2, "error: no such study; write one\n"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a"),
            2,
            "error: /runs/a: No space left on device; "
            "what was computed is kept, run the same command to go on\n",
        ),
        (
            OSError("the archive is damaged"),
            2,
            "error: the archive is damaged; what was computed is kept, run the same command to go on\n",
        ),
    ],
)
def test_what_a_user_can_fix_is_one_line(error, code, line, capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == line


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted; run the same command to go on\n"),
        (signal.SIGTERM, "told to end; run the same command to go on\n"),
    ],
)
def test_a_signal_is_one_line_also_within_a_command_of_typer(number, said, capsys):
    before = signal.getsignal(number)
    app = typer.Typer(add_completion=False)

    @app.command()
    def command() -> None:
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as ended, one_line_errors():
        app([])
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == said
    assert signal.getsignal(number) is before
