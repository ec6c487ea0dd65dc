"""Two classifiers averaged: what attention adds where it has a network of its own.

One network of all columns has to find out which of them to trust, and more columns mean more to overfit. Two
networks of few columns each, whose log-odds are averaged, need not. But two networks are also better than one
whatever they see, so the control is two networks of the same features and of different seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from apmae.prediction.metrics import Values
from apmae.token_study.columns import COPIES, ROWS
from apmae.token_study.measurement import Kind
from experiments.token_curves.cells import Cell

FIRST = ("confidence", "confidence+hidden", "strong")
"""What the first classifier of a pair sees: no attention."""
WITH_ATTENTION = (f"confidence+{ROWS}", f"strong+{ROWS}", f"strong+{COPIES}", f"strong+{ROWS}+{COPIES}")
"""What the second one sees, where it is no control."""


AND = " & "


def name_of(first: str, second: str) -> str:
    """Features of a pair, as in `TOKEN_METRICS`."""
    return first + AND + second


def control_of(pair: str) -> str:
    """The pair of the same first classifier that has no attention."""
    first, _, _ = pair.partition(AND)
    return name_of(first, first)


CONTROLS = tuple(name_of(features, features) for features in FIRST)
IS_PAIR = pl.col("features").str.contains(AND, literal=True)


def averages(log_odds: Mapping[Cell, Values]) -> dict[Kind, list[Values]]:
    """Mean log-odds of every pair, by kind, a list over seeds; empty where cells have one seed.

    The second classifier has the first one's next seed, in the controls as elsewhere.
    """
    seeds = 1 + max(cell.seed for cell in log_odds)
    found: dict[Kind, list[Values]] = {}
    for cell, odds in log_odds.items():
        if seeds == 1 or cell.features not in FIRST:
            continue
        for features in (cell.features, *WITH_ATTENTION):
            second = cell._replace(features=features, seed=(cell.seed + 1) % seeds)
            kind = Kind(name_of(cell.features, features), cell.model, cell.labels)
            found.setdefault(kind, []).append((odds + log_odds[second]) / 2)
    return found
