"""Effects of the interventions that tuning prompts chose, on held-out prompts and on other tasks.

Choices are made on other prompts than the measurements, so no number is the best of many by luck. Random
heads are chosen in the same way. Net changes are fractions of the prompts. Intervals are 95%.
"""

from __future__ import annotations

import polars as pl

from apmae.intervention.choices import CHANGE, CHOICE_METHODS, GATED, METHOD, RANDOM, best_ungated
from apmae.intervention.resampling import Resampling
from apmae.intervention.side_effects import RANDOM_CODE

CHOSEN = "chosen"
"""Of each task the ungated method that gains most on the tuning prompts; random heads are not eligible."""
ALL_TASKS = "all tasks"
REFERENCES = {"difference": "zero", "random_difference": RANDOM}
"""Methods that the others are compared with, by the column of the difference."""


def chosen_effects(
    interventions: pl.DataFrame, choices: pl.DataFrame, tasks: pl.DataFrame, resampling: Resampling
) -> pl.DataFrame:
    """Net change of every task's chosen interventions, and of all tasks together.

    If a method helped no tuning prompts, it changes nothing and its net change is 0.

    Args:
        interventions, choices, tasks: the study's tables.

    Returns:
        `task`, `method` (`CHOSEN`, then `CHOICE_METHODS`), `prompts`, `changed` (prompts); `net_change`,
        `low`, `high`; `difference` from zero ablation and `random_difference` from random heads that were
        chosen likewise, paired by prompt, null for the reference itself and without one;
        `base_rate_net_change`, with prompts weighted to the base rate, for all tasks the mean over tasks; of
        these three also `..._low`, `..._high`. And the choice, null for all tasks: `condition`, `selection`,
        `operation`, `factor`, `n_heads`, `threshold`, `tuning_net_change`.
    """
    held_out = interventions.filter(pl.col("split") != "train")
    best = best_ungated(choices).with_columns(method=pl.lit(CHOSEN))
    choices = pl.concat([best, choices]).drop("tuning_prompts")
    rates = tasks.select("task", pl.col("base_rate").fill_nan(None))
    per_prompt = _changes(held_out, choices).join(rates, on="task", how="left", maintain_order="left")
    of_tasks = _summary(per_prompt, ["task", "method"], resampling)
    pooled = _summary(per_prompt, ["method"], resampling).select(pl.lit(ALL_TASKS).alias("task"), pl.all())
    table = pl.concat([of_tasks, pooled])
    conditions = held_out.group_by("condition", maintain_order=True).agg(
        pl.col("selection", "operation", "factor", "n_heads").first()
    )
    chosen = choices.join(conditions, on="condition", how="left")
    return table.join(chosen, on=["task", "method"], how="left", maintain_order="left")


def side_effect_table(
    side_effects: pl.DataFrame, chosen: pl.DataFrame, resampling: Resampling
) -> pl.DataFrame:
    """Effect of each task's best intervention on its own task, the other tasks and random code.

    Args:
        side_effects: the study's table.
        chosen: `chosen_effects`.

    Returns:
        `task`; `gain`, its own net change; `others_net_change`, `low`, `high` over the prompts of all
        other tasks; `worst_task` and `worst_net_change`; `perplexity_before` and `perplexity_after` of
        random code. Null if not measured.
    """
    others = side_effects.filter(pl.col("measured_on") != RANDOM_CODE)
    others = others.with_columns(change=pl.col("after") - pl.col("before"))
    pooled = resampling.mean_changes(others, ["task"], "change", "others_net_change")
    worst = (
        others.group_by("task", "measured_on", maintain_order=True)
        .agg(worst_net_change=pl.col("change").mean())
        .sort("worst_net_change", maintain_order=True)
        .group_by("task", maintain_order=True)
        .first()
        .rename({"measured_on": "worst_task"})
    )
    code = side_effects.filter(measured_on=RANDOM_CODE).group_by("task", maintain_order=True)
    perplexity = code.agg(
        perplexity_before=pl.col("before").mean().exp(), perplexity_after=pl.col("after").mean().exp()
    )
    table = side_effects.select(pl.col("task").unique(maintain_order=True))
    gain = chosen.filter(pl.col("condition").is_not_null(), method=CHOSEN).select("task", gain="net_change")
    pooled = pooled.rename({"others_net_change_low": "low", "others_net_change_high": "high"})
    for part in (gain, pooled, worst, perplexity):
        table = table.join(part, on="task", how="left", maintain_order="left")
    return table


def generated_table(generated: pl.DataFrame, seed: int) -> pl.DataFrame:
    """What interventions do to generated code, by task.

    Args:
        generated: the study's table.
        seed: of the bootstrap over groups.

    Returns:
        `task`, `holes`, and of `exact` and `parses` the fractions before and after, and the change with its
        interval: `exact_before`, `exact_after`, `exact_change`, `exact_change_low`, `exact_change_high`, ...
    """
    holes = generated.with_row_index("prompt_id")
    drawn = Resampling(holes.select("prompt_id", "group"), seed)
    table = holes.group_by("task", maintain_order=True).agg(
        pl.len().alias("holes"), pl.col("^(exact|parses)_(before|after)$").mean()
    )
    for name in ("exact", "parses"):
        change = pl.col(f"{name}_after").cast(pl.Int8) - pl.col(f"{name}_before").cast(pl.Int8)
        changes = holes.select("prompt_id", "task", change=change.cast(pl.Float64))
        found = drawn.mean_changes(changes, ["task"], "change", f"{name}_change")
        table = table.join(found, on="task", how="left", maintain_order="left")
    return table


def _changes(held_out: pl.DataFrame, choices: pl.DataFrame) -> pl.DataFrame:
    """Per task, method and prompt: `change`, and its differences from `REFERENCES`."""
    prompts = held_out.group_by("task", "prompt_id", maintain_order=True).agg(
        pl.col("gate_probability").first()
    )
    tried = {CHOSEN, GATED, *held_out.select(METHOD).to_series(), *choices["method"]}
    methods = pl.DataFrame({"method": [method for method in (CHOSEN, *CHOICE_METHODS) if method in tried]})
    outcomes = held_out.select("condition", "prompt_id", change=CHANGE)
    let_through = pl.col("threshold").is_null() | (pl.col("gate_probability") <= pl.col("threshold"))
    found = (
        prompts.join(methods, how="cross", maintain_order="left_right")
        .join(choices, on=["task", "method"], how="left", maintain_order="left")
        .join(outcomes, on=["condition", "prompt_id"], how="left", maintain_order="left")
        .with_columns(change=pl.when(let_through).then("change").fill_null(0).cast(pl.Float64))
        .select("task", "method", "prompt_id", "change")
    )
    for name, method in REFERENCES.items():
        reference = found.filter(method=method).select("prompt_id", reference="change")
        found = found.join(reference, on="prompt_id", how="left", maintain_order="left")
        difference = pl.when(pl.col("method") != method).then(pl.col("change") - pl.col("reference"))
        found = found.with_columns(difference.alias(name)).drop("reference")
    return found


def _summary(per_prompt: pl.DataFrame, by: list[str], resampling: Resampling) -> pl.DataFrame:
    table = per_prompt.group_by(by, maintain_order=True).agg(
        prompts=pl.len(), changed=(pl.col("change") != 0).sum()
    )
    measured = [
        resampling.mean_changes(per_prompt, by, "change", "net_change"),
        *(resampling.mean_changes(per_prompt, by, name, name) for name in REFERENCES),
        resampling.base_rate_changes(per_prompt, by, "change", "base_rate_net_change"),
    ]
    for part in measured:
        table = table.join(part, on=by, how="left", maintain_order="left")
    return table.rename({"net_change_low": "low", "net_change_high": "high"})
