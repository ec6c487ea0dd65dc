"""How long work reports its progress, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Tracker(Protocol):
    """Passes items through and shows how far it got."""

    def __call__(self, items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
        """Yield `items` one by one; `total` is their number where they do not know it themselves."""
        ...
