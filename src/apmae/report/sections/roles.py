"""What heads look at: the token before, the matching bracket, a name's declaration, and more."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.head_maps import task_maps
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section
from apmae.roles.relations import ROLES

CODE = "code"
SHOWN_HEADS = 3


def section(data: ReportData) -> Section | None:
    """Roles of heads; None for a study without."""
    if data.roles.is_empty():
        return None
    texts = data.roles["text"].unique(maintain_order=True).to_list()
    content = {"rows": {text: role_rows(data.roles.filter(text=text)) for text in texts}, "meaning": ROLES}
    drawing = Drawing(
        "roles",
        lambda: role_maps(data.roles.filter(text=CODE), data.shape),
        alt="Heat maps of how far each head attends to what each role is about.",
        caption="One cell per head and role, in windows of code: the attention of the role's queries to its "
        "keys, less what it would be if their attention to the role's candidates were uniform. Candidates "
        "are the visible opening brackets, the names, the first tokens of lines, or all tokens. Not in the "
        "paper.",
        legible_pixels=760,
    )
    return Section("roles", "Roles of heads", (drawing,), content)


def role_rows(roles: pl.DataFrame) -> list[dict[str, Any]]:
    """A row for each role, with its heads of the largest excess over uniform attention."""
    rows = []
    for role in (name for name in ROLES if name in set(roles["role"])):
        heads = roles.filter(role=role).sort("difference", descending=True, maintain_order=True)
        clear = heads.filter(pl.col("difference_low") > 0)
        rows.append(
            {
                "role": role,
                "queries": heads["queries"][0],
                "examples": heads["examples"][0],
                "clear": clear.height,
                "heads": clear.head(SHOWN_HEADS).to_dicts(),
            }
        )
    return rows


@style.styled
def role_maps(roles: pl.DataFrame, shape: tuple[int, int]) -> Figure:
    """Excess of each head's attention over uniform attention, a map per role."""
    ordered = pl.concat([roles.filter(role=role) for role in ROLES])
    figure, _ = task_maps(ordered.rename({"role": "task"}), "difference", shape, "Attention beyond\nuniform")
    style.title(figure, "What the heads look at")
    return figure
