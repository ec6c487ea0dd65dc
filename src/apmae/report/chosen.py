"""Effects of the interventions that tuning prompts chose, on held-out prompts and on other tasks.

Choices are made on other prompts than the measurements, so no number is the best of many by luck. Net changes
are fractions of the prompts. Intervals are 95%.
"""

from __future__ import annotations

import polars as pl

from apmae.intervention.choices import CHANGE, CHOICE_METHODS, best_ungated
from apmae.intervention.side_effects import RANDOM_CODE
from apmae.report.summaries import Z_95

REFERENCE = "zero"
ALL_TASKS = "all tasks"


def chosen_effects(interventions: pl.DataFrame, choices: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    """Net change of every task's chosen interventions, and of all tasks together.

    If a method helped no tuning prompts, it changes nothing and its net change is 0.

    Args:
        interventions, choices, tasks: the study's tables.

    Returns:
        `task`, `method`, `prompts`, `changed` (prompts), `net_change`, `low`, `high`; `difference`,
        `difference_low`, `difference_high` from zero ablation, paired by prompt; `base_rate_net_change`, with
        prompts weighted to the base rate; and the choice, null for all tasks: `selection`, `operation`,
        `factor`, `n_heads`, `threshold`, `tuning_net_change`.
    """
    held_out = interventions.filter(split="test")
    per_prompt = _changes(held_out, choices)
    of_tasks = _summary(per_prompt, ["task", "method"])
    pooled = _summary(per_prompt, ["method"]).select(pl.lit(ALL_TASKS).alias("task"), pl.all())
    natural = _at_base_rate(per_prompt, tasks)
    conditions = held_out.group_by("condition", maintain_order=True).agg(
        pl.col("selection", "operation", "factor", "n_heads").first()
    )
    chosen = choices.drop("tuning_prompts").join(conditions, on="condition", how="left")
    table = pl.concat([of_tasks, pooled]).join(
        natural, on=["task", "method"], how="left", maintain_order="left"
    )
    return table.join(chosen, on=["task", "method"], how="left", maintain_order="left")


def side_effect_table(
    side_effects: pl.DataFrame, choices: pl.DataFrame, chosen: pl.DataFrame
) -> pl.DataFrame:
    """Effect of each task's best intervention on its own task, the other tasks and random code.

    Args:
        side_effects, choices: the study's tables.
        chosen: `chosen_effects`.

    Returns:
        `task`; `gain`, its own net change; `others_net_change`, `low`, `high` over the prompts of all
        other tasks; `worst_task` and `worst_net_change`; `perplexity_before` and `perplexity_after` of
        random code. Null if not measured.
    """
    change = pl.col("after") - pl.col("before")
    others = side_effects.filter(pl.col("measured_on") != RANDOM_CODE)
    pooled = others.group_by("task", maintain_order=True).agg(_interval(change, "others_net_change"))
    worst = (
        others.group_by("task", "measured_on", maintain_order=True)
        .agg(worst_net_change=change.mean())
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
    best = best_ungated(choices).select("task", "method")
    gain = best.join(chosen, on=["task", "method"]).select("task", gain="net_change")
    for part in (gain, pooled.unnest("others_net_change"), worst, perplexity):
        table = table.join(part, on="task", how="left", maintain_order="left")
    return table


def _changes(held_out: pl.DataFrame, choices: pl.DataFrame) -> pl.DataFrame:
    """Per task, method and prompt: `correct_before`, `change`, and `zero`, the change by zero ablation."""
    prompts = held_out.group_by("task", "prompt_id", maintain_order=True).agg(
        pl.col("correct_before", "gate_probability").first()
    )
    greedy = pl.col("selection") == "greedy"
    tried = {
        *held_out.filter(~greedy)["operation"],
        *held_out.filter(greedy)["selection"],
        *choices["method"],
        "gated",
    }
    methods = pl.DataFrame({"method": [method for method in CHOICE_METHODS if method in tried]})
    outcomes = held_out.select("condition", "prompt_id", change=CHANGE)
    let_through = pl.col("threshold").is_null() | (pl.col("gate_probability") <= pl.col("threshold"))
    found = (
        prompts.join(methods, how="cross", maintain_order="left_right")
        .join(choices, on=["task", "method"], how="left", maintain_order="left")
        .join(outcomes, on=["condition", "prompt_id"], how="left", maintain_order="left")
        .with_columns(change=pl.when(let_through).then("change").fill_null(0).cast(pl.Float64))
    )
    plain = found.filter(method=REFERENCE).select("prompt_id", zero="change")
    return found.join(plain, on="prompt_id", how="left", maintain_order="left")


def _summary(per_prompt: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    difference = _interval(pl.col("change") - pl.col("zero"), "difference").struct.rename_fields(
        ["difference", "difference_low", "difference_high"]
    )
    return (
        per_prompt.group_by(by, maintain_order=True)
        .agg(
            prompts=pl.len(),
            changed=(pl.col("change") != 0).sum(),
            net=_interval(pl.col("change"), "net_change"),
            of_difference=difference,
        )
        .unnest("net", "of_difference")
    )


def _interval(values: pl.Expr, name: str) -> pl.Expr:
    """The mean and its interval by normal approximation, as a struct of `name`, `low`, `high`."""
    half = Z_95 * values.std() / values.count().sqrt()
    mean = values.mean()
    return pl.struct(mean.alias(name), (mean - half).alias("low"), (mean + half).alias("high")).alias(name)


def _at_base_rate(per_prompt: pl.DataFrame, tasks: pl.DataFrame) -> pl.DataFrame:
    correct = pl.col("correct_before")
    rate = pl.col("base_rate").fill_nan(None).first()
    change = pl.col("change")
    return (
        per_prompt.join(tasks.select("task", "base_rate"), on="task", maintain_order="left")
        .group_by("task", "method", maintain_order=True)
        .agg(
            base_rate_net_change=rate * change.filter(correct).mean()
            + (1 - rate) * change.filter(~correct).mean()
        )
    )
