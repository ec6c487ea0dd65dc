"""Progress of long work: a bar on a terminal; in a log a line at once, and one every few seconds.

The lines come from a thread, so that they also come while one item takes minutes.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")

LOG_INTERVAL_SECONDS = 15.0

_lines: list[Callable[[], str]] = []
"""What the blocks of `reporting` have to say, the innermost last."""


class Progress(Protocol):
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


@contextmanager
def reporting(line: Callable[[], str]) -> Iterator[None]:
    """Say `line()` every few seconds within the block, but not while a block within it is open."""
    _lines.append(line)
    stop = threading.Event()
    if len(_lines) == 1:
        threading.Thread(target=_report, args=(stop,), daemon=True).start()
    try:
        yield
    finally:
        _lines.remove(line)
        stop.set()


def _report(stop: threading.Event) -> None:
    while not stop.wait(LOG_INTERVAL_SECONDS):
        for line in _lines[-1:]:
            _say(line())


def _say(line: str) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _bar(
    items: Iterable[T], description: str, total: int | None, done: int, status: Callable[[], str]
) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    pace = _Pace(description, total, done)
    with reporting(str), Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, completed=done, status="", rate="")
        for item in items:
            yield item
            pace.advance(status())
            bar.update(task, advance=1, status=pace.status, rate=pace.rate)


def _log(
    items: Iterable[T], description: str, total: int | None, done: int, status: Callable[[], str]
) -> Iterator[T]:
    pace = _Pace(description, total, done)
    _say(pace.line())
    with reporting(pace.line):
        for item in items:
            yield item
            pace.advance(status())
    _say(f"{pace.counted}, {duration(time.monotonic() - pace.started)}")


class _Pace:
    """How far some work is, and how fast it goes."""

    def __init__(self, description: str, total: int | None, done: int) -> None:
        self.started = time.monotonic()
        self.status = ""
        self._description = description
        self._total = total
        self._done = done
        self._count = 0

    def advance(self, status: str) -> None:
        """One item more is done."""
        self._count += 1
        self.status = status

    @property
    def counted(self) -> str:
        """What is done, and of how many."""
        of_total = "" if self._total is None else f"/{self._total}"
        return f"{self._description}: {self._done + self._count}{of_total}"

    @property
    def rate(self) -> str:
        """Items a second, or a minute where that is less than one; nothing before the first item."""
        a_second = self._count / max(time.monotonic() - self.started, 1e-9)
        if not self._count:
            return ""
        return f"{a_second:.3g}/s" if a_second >= 1 else f"{60 * a_second:.2g}/min"

    def line(self) -> str:
        """What is done, of how many, how fast, how long it will take, and the work's own status."""
        parts = [self.counted, self.rate]
        left = 0 if self._total is None else self._total - self._done - self._count
        if self._count and left > 0:  # work may go on behind its last item
            parts.append(f"{duration((time.monotonic() - self.started) / self._count * left)} left")
        return ", ".join(filter(None, [*parts, self.status]))


def duration(seconds: float) -> str:
    """A time for people, such as `35 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
