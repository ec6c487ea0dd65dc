"""Provenance of the study: times, training, versions, configuration."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from apmae.figures import style
from apmae.figures.panels import plain_number
from apmae.report.data import ReportData
from apmae.report.section import Drawing, Section
from apmae.stages import STAGE_NAMES
from apmae.study import Study
from apmae.study.artifacts import TRAINING_HISTORY
from apmae.study.study_file import dump_config


def section(data: ReportData) -> Section:
    """Provenance."""
    study = data.study
    history = study.read_if_there(TRAINING_HISTORY)
    mined = study.marker("prompts")
    assert mined is not None, "a report needs the prompts stage"
    content = {
        "stage_seconds": _stage_seconds(study),
        "provenance": study.provenance,
        "target": data.config.target.model,
        "corpus": mined["counts"]["corpus"],
        "key": data.key,
        "config_yaml": dump_config(data.config),
    }
    figures = () if history is None else (_figure(history),)
    return Section("provenance", "How it was made", figures, content)


def _stage_seconds(study: Study) -> dict[str, float]:
    records = {stage: study.marker(stage) or {} for stage in STAGE_NAMES if stage != "report"}
    return {stage: float(record["seconds"]) for stage, record in records.items() if "seconds" in record}


def _figure(history: pl.DataFrame) -> Drawing:
    return Drawing(
        "training_loss",
        lambda: training_loss(history),
        alt="Training and validation loss of the encoder against the optimiser step.",
        caption="The autoencoder's loss while it was trained; lower is better. The validation patterns come "
        "from held-out groups. Not in the paper as a figure; its final losses are table 2.",
    )


@style.styled
def training_loss(history: pl.DataFrame) -> Figure:
    """The AP-MAE's training and validation loss per step."""
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.2))
    axes = figure.subplots()
    axes.plot(history["step"], history["loss"], color="#9cc4de", linewidth=1, label="training batch")
    validation = history.drop_nulls("validation_loss")
    axes.plot(
        validation["step"],
        validation["validation_loss"],
        color=style.PALETTE[1],
        marker="o",
        markersize=3.5,
        linewidth=1.4,
        label="validation, held-out groups",
    )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.set_xlabel("Optimiser step (number)")
    axes.set_ylabel("Mean squared error of masked\npatches (log scale, no unit)")
    axes.legend()
    style.title(figure, "Training of the encoder")
    return figure
