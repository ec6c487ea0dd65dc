"""Progress of long work: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Protocol, TypeVar

T = TypeVar("T")

LOG_INTERVAL_SECONDS = 60.0


class Tracker(Protocol):
    """Passes items through and shows how far the work is.

    `total` is the number of items where that is not `len(items)`; `done` the number that an earlier
    run finished; `status` gives a word on the state of the work, such as the current loss.
    """

    def __call__(  # noqa: D102
        self,
        items: Iterable[T],
        description: str,
        total: int | None = None,
        *,
        done: int = 0,
        status: Callable[[], str] = str,
    ) -> Iterable[T]: ...


def silent(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    done: int = 0,
    status: Callable[[], str] = str,
) -> Iterable[T]:
    """Track nothing."""
    return items


def console(
    items: Iterable[T],
    description: str,
    total: int | None = None,
    *,
    done: int = 0,
    status: Callable[[], str] = str,
) -> Iterator[T]:
    """Track on standard error."""
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    shown = _bar if sys.stderr.isatty() else _log
    return shown(items, description, total, done, status)


def _bar(
    items: Iterable[T], description: str, total: int | None, done: int, status: Callable[[], str]
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, completed=done, status="")
        for item in items:
            yield item
            progress.update(task, advance=1, status=status())


def _log(
    items: Iterable[T], description: str, total: int | None, done: int, status: Callable[[], str]
) -> Iterator[T]:
    started = last = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_INTERVAL_SECONDS:
            last = now
            of_total = ""
            if total is not None:
                left = (now - started) / count * (total - done - count)
                of_total = f"/{total}, {left / 60:.0f} min left"
            print(f"{description}: {done + count}{of_total} {status()}".rstrip(), file=sys.stderr, flush=True)  # noqa: T201
