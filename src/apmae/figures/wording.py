"""Numbers, names and source text in words, for the page."""

from __future__ import annotations

import re

from apmae.common.errors import ApmaeError

LONGEST_TEXT = 160

SHAP_OF_KNOWN_HEADS = (
    "In five small models whose important heads are known, SHAP found them no better than chance "
    "(docs/ground-truth.md)"
)
"""What every ranking of heads by SHAP values says of itself."""


def readable(name: str) -> str:
    """A name in words: `confidence+row_statistics` becomes `confidence + row statistics`."""
    return " + ".join(part.strip().replace("_", " ") for part in name.split("+"))


def head_name(layer: int, head: int) -> str:
    """A head's name: `L5H6`, both from 0."""
    return f"L{layer}H{head}"


def heads_named(text: str) -> list[tuple[int, int]]:
    """Parse heads written as `L5H6,L7H0` into (layer, head) each.

    Raises:
        ApmaeError: the text has another form.
    """
    if not re.fullmatch(r"L\d+H\d+(,L\d+H\d+)*", text):
        raise ApmaeError(f"{text!r} names no heads: write them as L5H6,L7H0 (layer 5, head 6; both from 0)")
    return [(int(layer), int(head)) for layer, head in re.findall(r"L(\d+)H(\d+)", text)]


def points(change: float | None) -> str:
    """A change in accuracy, given as a fraction, in signed percentage points."""
    if change is None:
        return "unknown"
    rounded = round(100 * change, 1)
    return f"{'−' if rounded < 0 else '+' if rounded > 0 else ''}{abs(rounded):.1f}"  # noqa: RUF001


def signed(value: float) -> str:
    """A number with its sign and two decimals."""
    return f"{value:+.2f}".replace("-", "−")  # noqa: RUF001


def points_interval(low: float | None, high: float | None) -> str:
    """An interval of changes in percentage points."""
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural if needed."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def out_of(part: int, whole: int, noun: str) -> str:
    """A part of a number of things: 2 of 5 tasks, all 5 tasks, none of 5 tasks, the one task, no task."""
    if whole == 1:
        return f"the one {noun}" if part else f"no {noun}"
    return f"{'all' if part == whole else f'{part} of' if part else 'none of'} {count(whole, noun)}"


def listed(items: list[str]) -> str:
    """Items as one enumeration: a, b and c."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def visible(text: str) -> str:
    """Source text on one line, with line ends and tabs as signs, cut if it is long."""
    shown = text.replace("\r\n", "↵").replace("\n", "↵").replace("\r", "↵").replace("\t", "⇥")
    return shown if len(shown) <= LONGEST_TEXT else shown[: LONGEST_TEXT - 1] + "…"


def duration(seconds: float) -> str:
    """Seconds as the two largest units that fit."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def clearly(tasks: int) -> str:
    """The number of tasks in which a difference's interval excludes zero, in words."""
    return f"clearly in {tasks or 'none'}"
