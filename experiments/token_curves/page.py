"""The tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from apmae.common.markdown import markdown_table
from apmae.prediction.measurement import holm
from apmae.report.summaries import SIGNIFICANCE
from apmae.token_study.columns import COPIES, ROWS
from apmae.token_study.measurement import ALL, FEWEST_TOKENS
from experiments.token_curves import pairs

REFERENCES = ("confidence", "confidence+occurrences", "strong")
"""What needs no attention and is free: what other features are compared with."""

ADDED_BY_CLASS = (ROWS, COPIES)
"""What is added to `strong` in the table by syntax class."""


def fragment(curves: pl.DataFrame) -> str:
    """AUROC by number of labels; then, with most labels, over all tokens, by class and of pairs."""
    curves, of_pairs = (curves.filter(chosen) for chosen in (~pairs.IS_PAIR, pairs.IS_PAIR))
    everything = curves.filter(syntax=ALL, metric="auroc", difference_from="")
    labels = everything["labels"].unique().sort().to_list()
    labels = [*(count for count in labels if count), *(count for count in labels if not count)]
    by_labels = [
        (features, model, *(_value(found, labels=count) for count in labels))
        for (features, model), found in everything.group_by("features", "model", maintain_order=True)
    ]
    most = curves.filter(labels=labels[-1])
    parts = [
        "AUROC over all held-out tokens, by number of labels:",
        markdown_table(("features", "model", *map(_labels, labels)), by_labels),
        f"With {_labels(labels[-1])} labels, over all held-out tokens:",
        markdown_table(
            ("features", "model", "AUROC", *(f"less {name}" for name in REFERENCES), "PRR", "Brier skill"),
            [
                _overall(most, kind, REFERENCES)
                for kind in most.select("features", "model").unique(maintain_order=True).rows()
            ],
        ),
        "What heads add to `strong` by syntax class, AUROC (* significant after Holm's correction "
        f"over classes; classes of fewer than {FEWEST_TOKENS:,} held-out tokens are in brackets):",
        markdown_table(
            ("class", "tokens", "model", "strong", *(f"{added} add" for added in ADDED_BY_CLASS)),
            _by_class(most),
        ),
    ]
    if of_pairs.height:  # with one seed there are none
        parts += [
            f"Two classifiers averaged, with {_labels(labels[-1])} labels, over all held-out tokens, and the "
            "difference from two of the first one's features:",
            markdown_table(
                ("features", "model", "AUROC", "difference", "PRR", "Brier skill"),
                _averaged(of_pairs.filter(labels=labels[-1], syntax=ALL)),
            ),
        ]
    return "\n\n".join(parts) + "\n"


def _overall(most: pl.DataFrame, kind: tuple[str, str], references: Sequence[str]) -> tuple[str, ...]:
    features, model = kind
    of_kind = most.filter(syntax=ALL, features=features, model=model)
    area = of_kind.filter(metric="auroc")
    return (
        features,
        model,
        _value(area.filter(difference_from="")),
        *(_signed(area.filter(difference_from=name)) for name in references),
        *(_value(of_kind.filter(metric=name, difference_from="")) for name in ("prr", "brier_skill")),
    )


def _averaged(of_pairs: pl.DataFrame) -> list[tuple[str, ...]]:
    kinds = of_pairs.select("features", "model").unique(maintain_order=True).rows()
    return [_overall(of_pairs, kind, [pairs.control_of(kind[0])]) for kind in kinds]


def _by_class(most: pl.DataFrame) -> list[tuple[str, ...]]:
    areas = most.filter(pl.col("syntax") != ALL, metric="auroc")
    rows = []
    for (model,), of_model in areas.group_by("model", maintain_order=True):
        gains = [_gains(of_model, added) for added in ADDED_BY_CLASS]
        strong = of_model.filter(features="strong", difference_from="").sort("syntax")
        for syntax, tokens, value in strong.select("syntax", "tokens", "value").iter_rows():
            name = syntax if tokens >= FEWEST_TOKENS else f"({syntax})"
            rows.append((name, f"{tokens:,}", str(model), f"{value:.3f}", *(each[syntax] for each in gains)))
    return rows


def _gains(of_model: pl.DataFrame, added: str) -> dict[str, str]:
    """What a block adds to `strong`, by syntax class."""
    gains = of_model.filter(features=f"strong+{added}", difference_from="strong")
    family = gains.filter(pl.col("tokens") >= FEWEST_TOKENS)
    p_holm = dict(zip(family["syntax"], holm(family["p"].to_numpy()), strict=True))
    return {
        syntax: _signed(gains.filter(syntax=syntax)) + ("*" if p_holm.get(syntax, 1.0) < SIGNIFICANCE else "")
        for syntax in gains["syntax"]
    }


def _labels(count: int) -> str:
    return f"{count:,}" if count else "all"


def _value(rows: pl.DataFrame, **which: int) -> str:
    found = rows.filter(**which) if which else rows
    return f"{found['value'][0]:.3f}" if found.height else "-"


def _signed(rows: pl.DataFrame) -> str:
    if not rows.height:
        return "-"
    value, low, high = rows.select("value", "low", "high").row(0)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
