"""A section of the report: its title, its figures, and the input of its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure to be drawn.

    Attributes:
        name: of its files.
        alt: describes the figure to people who cannot see it.
        legible_pixels: its smallest legible width.
    """

    name: str
    draw: Callable[[], Figure]
    alt: str
    caption: str
    legible_pixels: int = 640


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        name: its anchor, and the name of its template in `sections/`.
        figures: in the order of the page.
        content: variables of its template, beside `pictures`, the drawn figures by name.
    """

    name: str
    title: str
    figures: tuple[Drawing, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict)
