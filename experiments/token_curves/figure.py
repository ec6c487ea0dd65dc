"""One figure: AUROC by number of labels, and what heads add by syntax class."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apmae.figures import style
from apmae.figures.panels import legend
from apmae.figures.wording import readable
from apmae.token_study.columns import COPIES, ROWS
from apmae.token_study.measurement import ALL, FEWEST_TOKENS

WITHOUT_HEADS = ("confidence", "hidden", "confidence+occurrences", "strong")
WITH_HEADS = (ROWS, COPIES, f"confidence+occurrences+{COPIES}", f"strong+{COPIES}")
ADDED = {f"strong+{block}": block for block in (ROWS, COPIES)}


@style.styled
def figure(curves: pl.DataFrame, model: str, all_labels: int) -> Figure:
    """Left, AUROC over all tokens by number of labels; right, what blocks of heads add to `strong` with most.

    Args:
        curves: token_curves.parquet.
        all_labels: how many labels "all" are.
    """
    curves = curves.filter(model=model, metric="auroc").with_columns(pl.col("labels").replace(0, all_labels))
    drawn = Figure(figsize=(style.WIDTH_INCHES, 4.4))
    levels, gains = drawn.subplots(1, 2)
    _by_labels(levels, curves.filter(syntax=ALL, difference_from="").sort("labels"))
    _by_class(gains, curves.filter(difference_from="strong"))
    legend(drawn, [levels], 4)
    style.title(drawn, "Is the predicted token right? Tokens of held-out groups")
    return drawn


def _by_labels(axes: Axes, areas: pl.DataFrame) -> None:
    names = (*WITHOUT_HEADS, *WITH_HEADS)
    colour, marker = style.colours(names), style.markers(names)
    for name in names:
        rows = areas.filter(features=name)
        dashes = "-" if name in WITH_HEADS else "--"
        axes.plot(
            rows["labels"],
            rows["value"],
            dashes,
            marker=marker[name],
            color=colour[name],
            label=readable(name),
            linewidth=1.3,
            markersize=4.6,
        )
    axes.set_xscale("log")
    axes.set_xlabel("Labelled tokens of training groups")
    axes.set_ylabel("AUROC (dashed: without attention)")
    axes.grid(axis="y")


def _by_class(axes: Axes, gains: pl.DataFrame) -> None:
    """Gains over `strong` of all tokens and of the classes that are large enough, most tokens first."""
    gains = gains.filter(pl.col("features").is_in(list(ADDED)))
    gains = gains.filter((pl.col("syntax") == ALL) | (pl.col("tokens") >= FEWEST_TOKENS))
    classes = gains.sort("tokens", descending=True)["syntax"].unique(maintain_order=True).to_list()
    colour, marker = (
        style.colours((*WITHOUT_HEADS, *WITH_HEADS)),
        style.markers((*WITHOUT_HEADS, *WITH_HEADS)),
    )
    axes.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    for shift, (features, block) in zip((-0.15, 0.15), ADDED.items(), strict=True):
        rows = gains.filter(features=features)
        places = [classes.index(syntax) + shift for syntax in rows["syntax"]]
        axes.hlines(places, rows["low"], rows["high"], color=colour[block], linewidth=1.3)
        axes.plot(rows["value"], places, marker[block], color=colour[block], markersize=4.6)
    axes.set_yticks(range(len(classes)), [readable(syntax) for syntax in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_xlabel("Gain in AUROC over strong, all that needs no attention (95% intervals)")
    axes.grid(axis="x")
