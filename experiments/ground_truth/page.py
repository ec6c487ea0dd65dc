"""The tables of docs/ground-truth.md as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from apmae.common.markdown import markdown_table
from experiments.ground_truth.measuring import RANDOM, Measured


def known_heads_table(measured: Sequence[Measured], chances: Mapping[str, float]) -> str:
    """AUROC (and precision) of every ranking on every model, and how probable they are by chance."""
    models = [of_model.name for of_model in measured]
    heads = [f"{of_model.known.sum()} of {len(of_model.known)}" for of_model in measured]
    rows = [
        ("known heads", *heads, "", ""),
        *(
            (
                ranking,
                *(f"{found.auroc[ranking]:.2f} ({found.precision[ranking]:.2f})" for found in measured),
                f"{np.mean([found.auroc[ranking] for found in measured]):.2f}",
                f"{chance:.4f}",
            )
            for ranking, chance in chances.items()
        ),
    ]
    return markdown_table(("ranking", *models, "mean AUROC", "p"), rows) + "\n"


def faithfulness_table(measured: Sequence[Measured]) -> str:
    """CPR and CMD of every ranking on every model, mean over tasks, and of random orders."""
    names = [name for name in measured[0].faithfulness if name != RANDOM]
    rows = [
        *((name, *_areas(measured, name)) for name in names),
        (RANDOM, *(_range(found) for found in measured)),
    ]
    return markdown_table(("ranking", *(found.name for found in measured)), rows) + "\n"


def _areas(measured: Sequence[Measured], ranking: str) -> Iterator[str]:
    for found in measured:
        areas = found.faithfulness.get(ranking)
        yield "-" if areas is None else f"{areas[0].mean():.2f}, {areas[1].mean():.2f}"


def _range(found: Measured) -> str:
    """Means of random orders, and between what 95% of the orders' CPR lie."""
    cpr, cmd = found.faithfulness[RANDOM]
    low, high = np.percentile(cpr, [2.5, 97.5])
    return f"{cpr.mean():.2f} ({low:.2f} to {high:.2f}), {cmd.mean():.2f}"
