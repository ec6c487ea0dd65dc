"""The matrix of a cross-model evaluation as text and as a figure (paper table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apmae.common.markdown import markdown_table
from apmae.figures import style

UNKNOWN_SPLIT = "†"
BASELINE = "uniform attention"
BASELINE_MEASURES = ("log_error_nats", "log_error_nats_std", "mass_error", "mass_error_std")


@dataclass(frozen=True)
class Measure:
    """A column of the evaluation table and its format."""

    column: str
    title: str
    factor: float
    form: str


MEASURES = (
    Measure("loss", "Loss (× 10⁻³)", 1e3, ".2f"),  # noqa: RUF001
    Measure("log_error_nats", "Error of log probability (nats)", 1, ".3f"),
    Measure("mass_error", "Misplaced attention (× 10⁻²)", 1e2, ".2f"),  # noqa: RUF001
)

MARKDOWN = """\
# Cross-model evaluation

Every encoder (down) reconstructs masked patterns of every target (across): mean (standard deviation) over
patterns; lower is better. All encoders see the same patterns under the same masks. **Bold**: the target of
the encoder's own study. {unknown_split}: nothing says that these prompts are held out from its training.

{tables}
- *Loss*: mean squared error over the masked patches, in the space of the encoder's scaling; with row tokens
  the mean of that and of their error. {comparable}
- *Error of log probability*: root mean square over the masked positions at which attention is allowed, all
  log probabilities clamped to [-16, 0]. It means the same for every scaling. A `min_normalized` prediction is
  decoded with its pattern's true smallest log probability, which the encoder does not know.
- *Misplaced attention*: absolute differences of probabilities, summed over the same positions, per query.
- *{baseline}*: a prediction that knows nothing, equal attention to all keys of a query.

Patterns of every head, on held-out prompts of those that encoders are trained on:

{counts}
"""


def markdown(table: pl.DataFrame) -> str:
    """The evaluation (`EVALUATION`) as a page of text."""
    shown = _with_baseline(table)
    return MARKDOWN.format(
        unknown_split=UNKNOWN_SPLIT,
        baseline=BASELINE,
        tables="\n".join(_markdown_table(shown, measure) for measure in MEASURES),
        comparable="Compare losses only between encoders of one kind, which is named in brackets."
        if len(_kinds(table)) > 1
        else f"All encoders are of one kind ({_kinds(table)[0]}), so losses can be compared.",
        counts="\n".join(f"- {line}" for line in counts(table)),
    )


@style.styled
def figure(table: pl.DataFrame) -> Figure:
    """The evaluation (`EVALUATION`) as heat maps with their numbers."""
    shown = _with_baseline(table)
    encoders, targets = _row_names(shown, "{}\n{}"), short_names(_unique(table, "target"))
    drawn = Figure(figsize=(style.WIDTH_INCHES, 1.7 + 0.45 * len(encoders)))
    panels = drawn.subplots(1, len(MEASURES), sharey=True)
    for axes, measure in zip(panels, MEASURES, strict=True):
        _heat_map(axes, shown, measure)
        axes.set_title(measure.title)
        axes.set_xticks(range(len(targets)), targets, rotation=20, ha="right", rotation_mode="anchor")
        axes.set_xlabel("Target")
    panels[0].set_yticks(range(len(encoders)), encoders)
    panels[0].set_ylabel("Encoder")
    style.title(drawn, "Encoders on the patterns of targets: mean (standard deviation)")
    return drawn


def counts(table: pl.DataFrame) -> list[str]:
    """The numbers of prompts and patterns of each target, in words."""
    columns = table.unique("target", maintain_order=True).select("target", "prompts", "patterns").rows()
    return [f"{target}: {prompts:,} prompts, {patterns:,} patterns" for target, prompts, patterns in columns]


def _with_baseline(table: pl.DataFrame) -> pl.DataFrame:
    """The table with one more row: errors of uniform attention, whose loss and kind are null."""
    first = table.filter(pl.col("encoder") == table["encoder"][0])
    nothing = [pl.lit(None).alias(name) for name in ("scaling", "row_tokens", "loss", "loss_std")]
    baseline = first.with_columns(
        pl.lit(BASELINE).alias("encoder"),
        pl.lit(False).alias("own_target"),
        pl.lit(True).alias("held_out"),
        *nothing,
        *(pl.col(f"uniform_{name}").alias(name) for name in BASELINE_MEASURES),
    )
    return pl.concat([table, baseline.cast(table.schema)])


def short_names(names: Sequence[str]) -> list[str]:
    """The last parts of paths and hub ids, or the full names if these are ambiguous."""
    short = [name.rpartition("/")[2] for name in names]
    return short if len(set(short)) == len(short) else list(names)


def _markdown_table(table: pl.DataFrame, measure: Measure) -> str:
    targets = short_names(_unique(table, "target"))
    encoders = zip(
        _row_names(table, "{} [{}]"), table.partition_by("encoder", maintain_order=True), strict=True
    )
    rows = (
        [name, *(_marked(cell, _cell(cell, measure)) for cell in of_encoder.iter_rows(named=True))]
        for name, of_encoder in encoders
    )
    return f"## {measure.title}\n\n{markdown_table(['encoder', *targets], rows)}\n"


def _marked(cell: dict[str, object], text: str) -> str:
    text = f"**{text}**" if cell["own_target"] else text
    return text if cell["held_out"] else f"{text} {UNKNOWN_SPLIT}"


def _cell(cell: dict[str, object], measure: Measure) -> str:
    mean, spread = cell[measure.column], cell[f"{measure.column}_std"]
    if not isinstance(mean, float):
        return ""
    text = f"{measure.factor * mean:{measure.form}}"
    return f"{text} ({measure.factor * spread:{measure.form}})" if isinstance(spread, float) else text


def _heat_map(axes: Axes, table: pl.DataFrame, measure: Measure) -> None:
    """Draw one measure, in a single colour if its rows are not comparable."""
    rows = table.partition_by("encoder", maintain_order=True)
    values = np.array([row[measure.column].to_list() for row in rows], dtype=float)
    low, high = np.nanmin(values), np.nanmax(values)
    comparable = measure.column != "loss" or len(_kinds(table)) == 1
    spread = max(high - low, 0.2 * high)
    axes.imshow(
        values if comparable else np.where(np.isnan(values), np.nan, low),
        cmap=matplotlib.colormaps[style.QUANTITY_COLOURS],
        vmin=low - spread / 4,
        vmax=high + spread,
        aspect="auto",
    )
    for place, row in enumerate(rows):
        for column, cell in enumerate(row.iter_rows(named=True)):
            text = _cell(cell, measure).replace(" ", "\n")
            weight = "bold" if cell["own_target"] else "normal"
            text += "" if cell["held_out"] else f" {UNKNOWN_SPLIT}"
            axes.text(column, place, text, ha="center", va="center", fontsize=8, fontweight=weight)


def _row_names(table: pl.DataFrame, with_kind: str) -> list[str]:
    """Short names of the encoders, with their kind if they have several kinds."""
    names = short_names(_unique(table, "encoder"))
    if len(_kinds(table)) == 1:
        return names
    kinds = table.unique("encoder", maintain_order=True).select("scaling", "row_tokens").rows()
    return [
        with_kind.format(name, _kind(*kind)) if name != BASELINE else name
        for name, kind in zip(names, kinds, strict=True)
    ]


def _unique(table: pl.DataFrame, column: str) -> list[str]:
    return table[column].unique(maintain_order=True).to_list()


def _kinds(table: pl.DataFrame) -> list[str]:
    """The kinds of encoders, one for each space of losses."""
    kinds = table.select("scaling", "row_tokens").drop_nulls().unique(maintain_order=True)
    return [_kind(*kind) for kind in kinds.rows()]


def _kind(scaling: str, row_tokens: bool) -> str:
    return scaling + (", row tokens" if row_tokens else "")
