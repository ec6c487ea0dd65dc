"""Labels of tokens on axes and pages."""

from __future__ import annotations

from apmae.figures.wording import visible

LONGEST_LABEL = 14
CONTINUED = "⋯"
"""A token that holds only further bytes of the character before it."""


def label(text: str) -> str:
    """A token on an axis: one line, every blank visible, long tokens cut."""
    shown = written(text).replace(" ", "·")
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 1] + "…"


def written(text: str) -> str:
    """A token in running text: line ends and tabs as signs, unprintable characters as codes."""
    if not text:
        return CONTINUED
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in visible(text))
