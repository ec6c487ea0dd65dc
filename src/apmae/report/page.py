"""The page: draws, saves and embeds every section's figures, and renders its template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

from jinja2 import Environment

from apmae.common.progress import Progress
from apmae.figures import style, wording
from apmae.figures.templates import page_templates
from apmae.intervention.operations import operation_of
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section


@dataclass(frozen=True)
class Picture:
    """A drawn figure for a template. `source` is a data URI."""

    number: int
    name: str
    source: str
    alt: str
    caption: str
    legible_pixels: int
    natural_pixels: int


def draw_figures(sections: Sequence[Section], folder: Path, progress: Progress) -> dict[str, Picture]:
    """Draw and number the sections' figures, and save each as SVG and PNG."""
    planned = [drawing for section in sections for drawing in section.figures]
    numbered = zip(count(1), progress(planned, "Drawing figures", len(planned)), strict=False)
    return {drawing.name: _picture(drawing, number, folder) for number, drawing in numbered}


def render(
    data: ReportData, sections: Iterable[Section], pictures: Mapping[str, Picture], made: datetime
) -> str:
    """The page as HTML, with all text escaped."""
    environment = _environment()
    parts = [
        (
            section,
            environment.get_template(f"{section.name}.html").render(**section.content, pictures=pictures),
        )
        for section in sections
    ]
    mined = data.study.marker("prompts")
    assert mined is not None, "a report needs the prompts stage"
    return environment.get_template("page.html").render(
        data=data,
        parts=parts,
        prompt_format=mined["counts"]["format"],
        provenance=data.study.provenance,
        made=made.strftime("%-d %B %Y, %H:%M UTC"),
    )


def _environment() -> Environment:
    here = Path(__file__).parent
    environment = page_templates(here, here / "sections", here.parent / "figures")
    for name in ("readable", "points", "visible", "duration"):
        environment.filters[name] = getattr(wording, name)
    environment.globals["points_interval"] = wording.points_interval
    environment.globals["head_name"] = wording.head_name
    environment.globals["operation_of"] = operation_of
    return environment


def _picture(drawing: Drawing, number: int, folder: Path) -> Picture:
    figure = drawing.draw()
    vector = style.encode(figure, "svg")
    (folder / f"{drawing.name}.svg").write_bytes(vector)
    (folder / f"{drawing.name}.png").write_bytes(style.encode(figure, "png"))
    return Picture(
        number=number,
        name=drawing.name,
        source=style.svg_uri(vector),
        alt=drawing.alt,
        caption=drawing.caption,
        legible_pixels=drawing.legible_pixels,
        natural_pixels=round(100 * figure.get_figwidth()),
    )
