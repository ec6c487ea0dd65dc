"""Running a script's main function: what a user can fix ends in one line and exit code 2."""

from __future__ import annotations

from collections.abc import Callable

import typer

from apmae.errors import ApmaeError


def run(main: Callable[..., None]) -> None:
    """Parse the command line for `main` and call it."""
    try:
        typer.run(main)
    except ApmaeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
