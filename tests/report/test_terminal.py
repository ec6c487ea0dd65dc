"""The terminal's table shows what tuning prompts chose, never the best on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from helpers.finished_study import condition, interventions, rewrite
from rich.console import Console

from apmae.intervention.choices import choose
from apmae.report import summary
from apmae.study import Study
from apmae.study import artifacts as files


def printed(study: Study, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(summary(study))
    return capture.get()


def test_the_confirmed_change_stands_beside_random_heads_chosen_likewise(
    small_study: Callable[..., Study],
) -> None:
    study = small_study(tasks=("eol", "identifiers"))
    parts = [
        ("positive", "train", "ggrr", 0),
        ("negative", "train", "gwrr", 0),
        ("random", "train", "gwrr", 0),
        ("positive", "test", "gwlr", 4),
        ("negative", "test", "ggrr", 4),
        ("random", "test", "gwrr", 4),
    ]
    tables = [
        interventions(condition("eol", selection, 5, letters, first=first)).with_columns(
            condition=pl.lit(("positive", "negative", "random").index(selection), pl.Int32),
            split=pl.lit(split),
        )
        for selection, split, letters, first in parts
    ]
    nothing = interventions(condition("identifiers", "positive", 5, "wwrr", first=24))
    table = pl.concat([*tables, nothing.with_columns(condition=pl.lit(3, pl.Int32))])
    rewrite(study, files.INTERVENTIONS, table)
    rewrite(study, files.CHOICES, choose(table))
    said = printed(study)
    eol, identifiers = (
        [line for line in said.splitlines() if task in line][-1] for task in ("eol ", "identifiers ")
    )
    assert "+0.0: 5 positive" in eol
    assert "+25.0: 5 random" in eol
    assert "+50.0" not in said
    assert identifiers.count("nothing helped") == 2
    assert "random heads are chosen likewise" in " ".join(said.split())


def test_the_tables_fit_a_terminal_of_80_columns(small_study: Callable[..., Study]) -> None:
    tasks = ("mathematical_operators", "assignment_operators", "string_literals", "eol")
    said = printed(small_study(tasks=tasks), width=80)
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80
    words = said.split()
    assert {"mathematical_", "operators", "mathematical_operators"} <= set(words)
