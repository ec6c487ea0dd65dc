"""The page: draw, save and embed the figures, and render the template around them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from apmae.figures import style, wording
from apmae.intervention.operations import operation_of
from apmae.report import maps
from apmae.report.answers import answers, shuffled_labels, versus_zeroing
from apmae.report.drawings import Drawing, pattern_scaling
from apmae.report.material import Material
from apmae.study.study_file import dump_config

METRICS = {"auroc": "AUROC", "accuracy": "Accuracy"}
MORE_METRICS = {
    "balanced_accuracy": "Balanced accuracy",
    "auprc": "Average precision",
    "brier_skill_at_base_rate": "Brier skill at the base rate",
    "ece_at_base_rate": "Expected calibration error at the base rate, smaller is better",
    "aurc_at_base_rate": "Area under the risk-coverage curve at the base rate, smaller is better",
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure as the template shows it; `source` is a data URI."""

    number: int
    name: str
    source: str
    alt: str
    caption: str
    legible_pixels: int
    natural_pixels: int


def render(material: Material, pictures: dict[str, Picture], key: str, made: datetime) -> str:
    """The page as HTML; every text in it is escaped."""
    here = Path(__file__).parent
    loader = FileSystemLoader([here, here.parent / "figures"])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    for name in ("readable", "points", "visible", "duration"):
        environment.filters[name] = getattr(wording, name)
    environment.globals["points_interval"] = wording.points_interval
    environment.globals["head_name"] = wording.head_name
    environment.globals["operation_of"] = operation_of
    return environment.get_template("template.html").render(
        m=material,
        pictures=pictures,
        answers=answers(material.top_heads, material.held_out, material.best_interventions, material.chosen),
        top_heads=_grouped(material.top_heads),
        metric_tables=_metric_tables(material),
        shuffled=shuffled_labels(material.held_out),
        top_heads_of={name: _grouped(table) for name, table in material.top_heads_of.items()},
        best=list(material.best_interventions.iter_rows(named=True)),
        flips=_grouped(material.effects),
        chosen=_grouped(material.chosen),
        versus_zeroing=versus_zeroing(material.chosen),
        side_effects=list(material.side_effects.iter_rows(named=True)),
        tiles=_tiles(material),
        pattern_scale=_data_uri(maps.pattern_scale()) if material.tiles else None,
        pattern_scaling=pattern_scaling(material),
        config_yaml=dump_config(material.config),
        key=key,
        made=made.strftime("%-d %B %Y, %H:%M UTC"),
    )


def picture(drawing: Drawing, number: int, folder: Path) -> Picture:
    """Draw a figure, and save it as SVG and PNG."""
    figure = drawing.draw()
    vector = style.encode(figure, "svg")
    (folder / f"{drawing.name}.svg").write_bytes(vector)
    (folder / f"{drawing.name}.png").write_bytes(style.encode(figure, "png"))
    return Picture(
        number=number,
        name=drawing.name,
        source=_svg_uri(vector),
        alt=drawing.alt,
        caption=drawing.caption,
        legible_pixels=drawing.legible_pixels,
        natural_pixels=round(100 * figure.get_figwidth()),
    )


def _data_uri(figure: Figure) -> str:
    return _svg_uri(style.encode(figure, "svg"))


def _svg_uri(vector: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(vector).decode("ascii")


def _grouped(table: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        groups.setdefault(row["task"], []).append(row)
    return groups


def _metric_tables(material: Material) -> dict[str, list[dict[str, Any]]]:
    """Tables with tasks down and feature sets across, by where they stand on the page."""
    held_out, crossed = material.held_out, material.cross_validation
    grouped = material.grouped_cross_validation
    own = material.feature_sets
    others = [name for name in held_out["features"].unique(maintain_order=True) if name not in own]
    return {
        "main": [_metric_table(held_out, metric, name, own) for metric, name in METRICS.items()],
        "difference": [_difference_table(held_out, "auroc", own[1:])],
        "baselines": [_metric_table(held_out, "auroc", "AUROC of the baselines", others)],
        "more": [_metric_table(held_out, metric, name, own) for metric, name in MORE_METRICS.items()],
        "grouped_cross_validation": [
            *[_metric_table(grouped, metric, name, own) for metric, name in METRICS.items()],
            _difference_table(grouped, "auroc", own[1:]),
        ],
        "cross_validation": [_metric_table(crossed, metric, name, own) for metric, name in METRICS.items()],
    }


def _metric_table(table: pl.DataFrame, metric: str, name: str, features: list[str]) -> dict[str, Any]:
    title = f"{name}, with 95% interval; the best of a task in bold"
    return _table(table, metric, title, features, lambda row: bool(row[f"{metric}_best"]))


def _difference_table(table: pl.DataFrame, metric: str, features: list[str]) -> dict[str, Any]:
    title = "AUROC minus that of confidence, with paired 95% interval; in bold where it does not hold zero"

    def certain(row: dict[str, Any]) -> bool:
        low, high = row[f"{metric}_difference_low"], row[f"{metric}_difference_high"]
        return low is not None and high is not None and (low > 0 or high < 0)

    return {**_table(table, f"{metric}_difference", title, features, certain), "signed": True}


def _table(
    table: pl.DataFrame,
    column: str,
    title: str,
    features: list[str],
    bold: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    shown = [name for name in features if name in set(table["features"])] if column in table.columns else []
    cells = {(row["task"], row["features"]): row for row in table.iter_rows(named=True)}
    prompts = table.group_by("task", maintain_order=True).agg(pl.col("prompts").max())
    return {
        "title": title,
        "features": shown,
        "rows": [
            (task, number, [_cell(cells.get((task, name)), column, bold) for name in shown])
            for task, number in prompts.iter_rows()
        ],
        "signed": False,
    }


def _cell(
    row: dict[str, Any] | None, column: str, bold: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
    if row is None or row[column] is None:
        return None
    return {
        "value": row[column],
        "low": row[f"{column}_low"],
        "high": row[f"{column}_high"],
        "bold": bold(row),
    }


def _tiles(material: Material) -> list[dict[str, Any]]:
    return [
        {"tile": tile, "source": _data_uri(maps.pattern(values))}
        for tile, values in zip(material.tiles, material.tile_patterns, strict=True)
    ]
