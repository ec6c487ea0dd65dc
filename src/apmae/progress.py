"""How a stage shows its progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Tracker(Protocol):
    """Passes items through while it shows how many of `total` have gone by."""

    def __call__(self, items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
        """Yield every item of `items`, under the heading `description`."""
        ...
