"""Made-up studies, with every artifact that the report reads, and made-up tables."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import zarr

from apmae.autoencoder.reconstruction import Reconstruction
from apmae.intervention.choices import choose
from apmae.intervention.resampling import Resampling
from apmae.intervention.side_effects import RANDOM_CODE
from apmae.prediction.features import BASELINES, SHUFFLED
from apmae.study import Study
from apmae.study import artifacts as files
from apmae.study.artifacts import EVALUATION
from apmae.study.config import StudyConfig
from apmae.target_model import Head

TASKS = ("eol", "identifiers", "string_literals", "numeric_literals", "boolean_operators")
FEATURES = {
    "clusters": 0.2,
    "row_statistics": 0.25,
    "copy_attention": 0.26,
    "confidence+clusters": 0.29,
    "confidence+row_statistics": 0.31,
    "strong+clusters": 0.35,
    "strong+row_statistics": 0.36,
    "strong+copy_attention": 0.37,
    "confidence+clusters+row_statistics+cls_encodings": 0.32,
    "prior": 0.0,
    "file_memory": 0.0,
    "confidence": 0.27,
    "token_kind": 0.15,
    "hidden_state": 0.1,
    "strong": 0.34,
    "confidence+token_kind": 0.28,
    "shuffled_labels": 0.0,
}
METRICS = {
    "accuracy": 0.8,
    "auroc": 1.0,
    "within_group_auroc": 1.0,
    "auroc_of_kind": 0.9,
    "balanced_accuracy": 0.8,
    "auprc": 1.0,
    "prr_at_base_rate": 1.0,
    "brier_skill_at_base_rate": 0.5,
    "ece_at_base_rate": -1.0,
    "aurc_at_base_rate": -1.0,
}
HOLE_TEXTS = (";\n", "closeQuietly", '"<b>x</b>"', "</script><img src=x onerror=alert(1)>", "&&", "\t}\r\n")


SMALL: dict[str, Any] = {
    "tasks": ("eol", "identifiers"),
    "n_layers": 3,
    "n_heads": 4,
    "prompts_per_task": 24,
    "tokens": 64,
    "head_counts": (1, 5),
    "exemplar_heads": 3,
}


def build_study(
    directory: Path,
    *,
    tasks: tuple[str, ...] = TASKS,
    n_layers: int = 30,
    n_heads: int = 9,
    prompts_per_task: int = 120,
    tokens: int = 256,
    head_counts: tuple[int, ...] = (1, 5, 20, 80),
    exemplar_heads: int = 30,
    seed: int = 0,
) -> Study:
    """Write a study's artifacts from random numbers of about the size that real ones have."""
    config = StudyConfig.model_validate(
        {
            "name": "made-up",
            "seed": 7 + seed,
            "directory": str(directory),
            "corpus": {"source": "directory", "path": "/code/<script>alert(1)</script>"},
            "prompts": {"tasks": tasks, "per_task": prompts_per_task, "length_tokens": tokens},
            "prediction": {"features": [name for name in FEATURES if name not in (*BASELINES, SHUFFLED)]},
        }
    )
    study = Study.create(config)
    generator = np.random.default_rng(seed)
    outcome_tasks = [task for task in tasks if task != "noise"]
    prompts = _prompts(generator, tasks, prompts_per_task)
    study.write(files.PROMPTS, prompts)
    study.write(files.TASKS, _tasks(generator, tasks, prompts_per_task))
    clusters = _clusters(generator, prompts.height, n_layers, n_heads)
    study.write(files.CLUSTERS, clusters)
    study.write(files.PREDICTIONS, _predictions(generator, prompts))
    study.write(files.METRICS, _metrics(generator, outcome_tasks))
    importance = _importance(generator, outcome_tasks, n_layers, n_heads)
    study.write(files.IMPORTANCE, importance)
    leader = importance.sort("max_difference", descending=True).select("layer", "head").row(0)
    study.write(files.EFFECTS, _effects(outcome_tasks, n_layers, n_heads, leader))
    study.write(
        files.EFFECT_AGREEMENT,
        files.EFFECT_AGREEMENT.of_rows(
            (task, split, n_layers * n_heads, 0.9, 0.8)
            for task in outcome_tasks
            for split in ("train", "test")
        ),
    )
    study.write(files.ROLES, _roles(n_layers, n_heads, leader))
    study.write(files.LEARNED_GATES, _learned_gates(outcome_tasks, n_layers, n_heads, leader))
    interventions = _interventions(generator, prompts, outcome_tasks, head_counts)
    study.write(files.INTERVENTIONS, interventions)
    study.write(files.CHOICES, choose(interventions))
    effects = _side_effects(generator, outcome_tasks)
    study.write(files.SIDE_EFFECTS, effects)
    study.write(files.GENERATED, _generated(outcome_tasks))
    heads = importance.sort("max_difference", descending=True).select("layer", "head")
    shown = heads.unique(maintain_order=True).head(exemplar_heads)
    _write_exemplars(study, generator, clusters.join(shown, on=["layer", "head"]), tokens)
    _write_history(study, generator)
    study.write(files.TOKEN_METRICS, token_metrics())
    moved = importance.unique(["layer", "head"], maintain_order=True).select(
        "layer", "head", mean_size=pl.col("layer") * 0.01 + pl.col("head") * 0.001, mean=pl.lit(0.0)
    )
    study.write(files.TOKEN_IMPORTANCE, files.TOKEN_IMPORTANCE.cast(moved))
    _write_records(study)
    return study


TOKEN_RISKS = {50: 0.05, 80: 0.15, 95: 0.3}
TOKEN_GAINS = {
    "all": (0.04, 0.001),
    "identifiers": (0.05, 0.004),
    "eol": (0.01, 0.03),
    "comment": (0.2, 0.001),
}
"""Gain of AUROC by heads, and its p-value, by syntax class; there are few comments."""

TOKEN_FEATURES = "confidence+occurrences+copies"


def token_metrics() -> pl.DataFrame:
    """`TOKEN_METRICS` of confidence, of a predictor of tokens, and of it without heads."""
    rows = []

    def add(features, syntax, metric, reference, value, spread, p=np.nan):
        tokens = {"all": 40_000, "comment": 900}.get(syntax, 9_000)
        interval = (value, value - spread, value + spread)
        rows.append((features, "mlp", 0, syntax, metric, reference, *interval, p, tokens))

    without = "confidence+occurrences"
    for syntax, (gain, p) in TOKEN_GAINS.items():
        values = {"confidence": 0.79, without: 0.8, TOKEN_FEATURES: 0.8 + gain}
        for features, value in values.items():
            add(features, syntax, "auroc", "", value, 0.01)
        add(TOKEN_FEATURES, syntax, "auroc", without, gain, 0.005, p)
        add(TOKEN_FEATURES, syntax, "auroc", "confidence", gain + 0.01, 0.005, p / 2)
    for percent, risk in TOKEN_RISKS.items():
        metric = f"risk_at_{percent}"
        values = {"confidence": risk + 0.002, without: risk, TOKEN_FEATURES: risk - 0.01}
        for features, value in values.items():
            add(features, "all", metric, "", value, 0.0)
        add(TOKEN_FEATURES, "all", metric, without, -0.01, 0.011, 0.1)
    return files.TOKEN_METRICS.of_rows(rows)


def causal_pattern(generator: np.random.Generator, tokens: int) -> np.ndarray:
    """A pattern with a sink, a diagonal band, and noise."""
    distance = np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
    period = int(generator.integers(8, 60))
    values = 0.55 * np.exp(-distance / generator.uniform(2, 40)) + 0.3 * (distance % period == 0)
    values[:, 0] = 0.9
    values[:, generator.integers(1, tokens, 5)] += 0.2
    noisy = np.clip(values + 0.08 * generator.random((tokens, tokens)), 0, 1)
    return np.asarray(np.tril(noisy), dtype=np.float32)


def make_reconstructions(count: int = 4, tokens: int = 256, patch: int = 32) -> list[Reconstruction]:
    generator = np.random.default_rng(1)
    items = []
    for index in range(count):
        pattern = causal_pattern(generator, tokens)
        hidden = generator.random((tokens // patch, tokens // patch)) < 0.5
        masked = np.where(np.kron(hidden, np.ones((patch, patch), dtype=bool)), np.nan, pattern)
        noisy = np.clip(pattern + 0.05 * generator.standard_normal(pattern.shape), 0, 1)
        items.append(
            Reconstruction(
                layer=3 * index,
                head=index,
                prompt_id=10 + index,
                loss=0.004 + 0.001 * index,
                pattern=pattern,
                masked=masked.astype(np.float32),
                reconstruction=noisy.astype(np.float32),
            )
        )
    return items


def evaluation(kinds: tuple[tuple[str, bool], ...] = (("min_normalized", False),) * 3) -> pl.DataFrame:
    """Table 2 of the paper, with made-up errors; the last encoder's prompts are not known to be held out."""
    losses = ((7.07, 7.78, 9.53), (7.55, 7.17, 9.29), (9.57, 10.05, 7.59))
    rows = [
        (
            f"made/AP-MAE-{row}",
            f"made/target-{column}",
            row == column,
            row < 2,
            *kinds[row],
            64,
            46_080 * (column + 1),
            *(factor * losses[row][column] for factor in (1e-3, 3.1e-4, 0.2, 0.051, 0.02, 0.01)),
            *(2.5, 0.4, 0.5, 0.1),
        )
        for row in range(3)
        for column in range(3)
    ]
    return EVALUATION.of_rows(rows)


def interventions(rows: list[tuple[str, str, int, int, int, bool, bool]]) -> pl.DataFrame:
    """(task, selection, n_heads, seed, prompt, before, after): held-out prompts, their heads zeroed."""
    columns = ("task", "selection", "n_heads", "seed", "prompt_id", "correct_before", "correct_after")
    schema = files.INTERVENTIONS.schema
    table = pl.DataFrame(rows, schema={name: schema[name] for name in columns}, orient="row")
    return table.with_columns(
        condition=pl.struct("task", "selection", "n_heads", "seed").rank("dense") - 1,
        importance=pl.lit("clusters"),
        operation=pl.lit("zero"),
        factor=0.0,
        split=pl.lit("test"),
        predicted_before=0,
        predicted_id=0,
        gate_probability=0.5,
    ).select(pl.col(name).cast(kind) for name, kind in schema.items())


def resampling(table: pl.DataFrame, groups: int | None = None) -> Resampling:
    """How prompts of interventions are resampled: each a group of its own, or dealt to so many groups."""
    prompts = table.unique("prompt_id", maintain_order=True)
    number = pl.col("prompt_id") if groups is None else pl.col("prompt_id") % groups
    return Resampling(
        prompts.select("prompt_id", group=number.cast(pl.String), correct="correct_before"), seed=0
    )


def condition(
    task: str, selection: str, n_heads: int, outcomes: str, *, seed: int = 0, first: int = 0
) -> list[tuple[object, ...]]:
    """One row per letter: g(ained), l(ost), r(ight before and after), w(rong before and after)."""
    flips = {"g": (False, True), "l": (True, False), "r": (True, True), "w": (False, False)}
    return [
        (task, selection, n_heads, seed, first + index, *flips[letter])
        for index, letter in enumerate(outcomes)
    ]


def metrics(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """(task, features, metric, value, low, high), held out, over 40 prompts.

    The difference from confidence, its interval and p-values may follow, and then those from `strong`.
    """
    unknown = (float("nan"),) * 10
    full = [
        (task, "held_out", features, *rest, *unknown[: 14 - len(rest)], 40) for task, features, *rest in rows
    ]
    return files.METRICS.of_rows(full)


def _prompts(generator: np.random.Generator, tasks: tuple[str, ...], per_task: int) -> pl.DataFrame:
    count = per_task * len(tasks)
    task = np.repeat(tasks, per_task)
    noise = task == "noise"
    probability = generator.random(count)
    group = generator.integers(0, 40, count)
    return pl.DataFrame(
        {
            "prompt_id": np.arange(count),
            "purpose": ["study"] * count,
            "task": task,
            "file": [
                f"java.base/java/util/<b>s</b>/{'Very' * (index % 20)}LongName.java" for index in range(count)
            ],
            "line": [None if hidden else 10 + index for index, hidden in enumerate(noise)],
            "group": [f"java.util.{number}" for number in group],
            "split": np.where(group < 10, "test", "train"),
            "text": [None if hidden else HOLE_TEXTS[i % len(HOLE_TEXTS)] for i, hidden in enumerate(noise)],
            "input_ids": [[1, 2, 3]] * count,
            "next_token_id": [5] * count,
            "true_ids": [[5]] * count,
            "searched": [False] * count,
            "predicted_id": [5] * count,
            "correct": [None if hidden else index % 2 == 0 for index, hidden in enumerate(noise)],
            "next_token_probability": probability,
            "max_probability": probability,
            "margin": probability,
            "entropy": probability,
        }
    )


def _tasks(generator: np.random.Generator, tasks: tuple[str, ...], per_task: int) -> pl.DataFrame:
    rates = generator.uniform(0.4, 0.92, len(tasks))
    rows = [
        {
            "task": task,
            "evaluated": 0 if task == "noise" else 700,
            "evaluated_correct": 0 if task == "noise" else int(700 * rate),
            "base_rate": float("nan") if task == "noise" else int(700 * rate) / 700,
            "searched": 0,
            "kept_correct": 0 if task == "noise" else per_task // 2,
            "kept_incorrect": 0 if task == "noise" else per_task - per_task // 2,
            "kept_matched": 0 if task == "noise" else per_task - per_task % 2,
        }
        for task, rate in zip(tasks, rates, strict=True)
    ]
    return pl.DataFrame(rows)


def _clusters(generator: np.random.Generator, prompts: int, n_layers: int, n_heads: int) -> pl.DataFrame:
    heads = n_layers * n_heads
    limits = generator.integers(1, 7, heads)
    cluster = (generator.integers(0, 60, (heads, prompts)) % limits[:, None]).ravel()
    cluster = np.where(generator.random(heads * prompts) < 0.03, -1, cluster)
    return pl.DataFrame(
        {
            "prompt_id": np.tile(np.arange(prompts), heads),
            "layer": np.repeat(np.arange(heads) // n_heads, prompts),
            "head": np.repeat(np.arange(heads) % n_heads, prompts),
            "cluster": cluster,
            "cluster_held_out": cluster,
            "random_cluster": None,
            "random_cluster_held_out": None,
        }
    )


def _predictions(generator: np.random.Generator, prompts: pl.DataFrame) -> pl.DataFrame:
    """Of the held-out prompts; better than chance but for shuffled labels."""
    held_out = prompts.filter(pl.col("split") == "test", pl.col("correct").is_not_null())
    frames = []
    for features, lift in FEATURES.items():
        told = lift * (2 * held_out["correct"].to_numpy().astype(float) - 1)
        frames.append(
            held_out.select(
                "prompt_id",
                "task",
                protocol=pl.lit("held_out"),
                features=pl.lit(features),
                fold=0,
                probability=np.clip(0.5 + told + generator.normal(0, 0.25, held_out.height), 0.01, 0.99),
            )
        )
    return pl.concat(frames)


def _metrics(generator: np.random.Generator, tasks: list[str]) -> pl.DataFrame:
    rows = []
    for task in tasks:
        easiness = generator.uniform(0.8, 1.2)
        for protocol, half in (("cross_validation", 0.04), ("held_out", 0.08)):
            for features, lift in FEATURES.items():
                for metric, scale in METRICS.items():
                    gap = easiness * scale
                    value = 0.5 + lift * scale * easiness + (lift > 0) * generator.normal(0, 0.02)
                    rows.append(
                        {
                            "task": task,
                            "protocol": protocol,
                            "features": features,
                            "metric": metric,
                            "value": value,
                            "low": value - half * (lift > 0),
                            "high": value + half * (lift > 0),
                            **_difference(
                                "difference", lift - FEATURES["confidence"], easiness * scale, half
                            ),
                            **_difference("over_strong", lift - FEATURES["strong"], gap, half),
                            "prompts": 120 if protocol == "cross_validation" else 30,
                        }
                    )
    table = pl.DataFrame(rows)
    crossed = table.filter(
        pl.col("protocol") == "cross_validation", ~pl.col("features").str.contains("clusters")
    )
    return pl.concat([table, crossed.with_columns(protocol=pl.lit("grouped_cross_validation"))])


def _difference(name: str, lift: float, scale: float, half: float) -> dict[str, float]:
    """A difference with its interval; significant where that excludes zero."""
    value = lift * scale
    p = 0.01 if abs(value) > half / 2 else 0.4
    ends = {"": value, "_low": value - half / 2, "_high": value + half / 2, "_p": p, "_p_holm": min(1, 4 * p)}
    return {name + ending: number for ending, number in ends.items()}


def _importance(
    generator: np.random.Generator, tasks: list[str], n_layers: int, n_heads: int
) -> pl.DataFrame:
    heads = n_layers * n_heads
    frames = [
        pl.DataFrame(
            {
                "task": [task] * heads,
                "features": features,
                "layer": np.arange(heads) // n_heads,
                "head": np.arange(heads) % n_heads,
                "max_difference": generator.gamma(0.25, 0.2, heads),
                "mean_positive": generator.random(heads),
                "mean_negative": -generator.random(heads),
                "mean_absolute": generator.random(heads),
                "mean_shap": generator.normal(size=heads),
                "top_fraction": generator.integers(0, 6, heads) / 5,
                "rank_correlation": generator.random(),
            }
        )
        for features in ("clusters", "row_statistics")
        for task in tasks
    ]
    return pl.concat(frames)


def _effects(tasks: list[str], n_layers: int, n_heads: int, leader: Head) -> pl.DataFrame:
    """Ablating the leader costs most, the more the later the task; the other effects are small."""
    generator = np.random.default_rng(11)
    rows = []
    for place, task in enumerate(tasks):
        for layer, head in np.ndindex(n_layers, n_heads):
            size = -0.5 - 0.1 * place if (layer, head) == leader else 0.02 * generator.normal()
            for operation, method, outcome, weighting in product(
                ("zero", "mean"), ("exact", "attribution"), ("log_probability", "correct"), WEIGHTINGS
            ):
                if method == "attribution" and (operation == "mean" or outcome == "correct"):
                    continue
                value = size * (0.8 if operation == "mean" else 1.0) * (0.4 if outcome == "correct" else 1.0)
                value *= 1.2 if weighting == "base_rate" else 1.0
                for split in ("train", "test") if operation == "zero" else ("test",):
                    kind = (split, operation, method, outcome, weighting)
                    rows.append((task, layer, head, *kind, value, value - 0.05, value + 0.05, 32, 1.0))
    return files.EFFECTS.of_rows(rows)


WEIGHTINGS = ("balanced", "base_rate")


def _roles(n_layers: int, n_heads: int, leader: Head) -> pl.DataFrame:
    """The leader attends to the token before, and a little to the opening bracket."""
    rows = []
    for role, text in (
        ("previous_token", "code"),
        ("opening_bracket", "code"),
        ("previous_token", "repeated random tokens"),
    ):
        for layer, head in np.ndindex(n_layers, n_heads):
            is_one = (layer, head) == leader
            value = (0.9 if role == "previous_token" else 0.2) if is_one else 0.05
            bounds = (value - 0.06, value - 0.1, value - 0.02)
            rows.append((role, text, layer, head, value, value - 0.04, value + 0.04, 0.06, *bounds, 24, 480))
    return files.ROLES.of_rows(rows)


def _learned_gates(tasks: list[str], n_layers: int, n_heads: int, leader: Head) -> pl.DataFrame:
    return files.LEARNED_GATES.of_rows(
        (
            task,
            layer,
            head,
            1.0,
            float((layer, head) == leader),
            "facilitating" if (layer, head) == leader else "irrelevant",
        )
        for task in tasks
        for layer, head in np.ndindex(n_layers, n_heads)
    )


def _interventions(
    generator: np.random.Generator, prompts: pl.DataFrame, tasks: list[str], head_counts: tuple[int, ...]
) -> pl.DataFrame:
    """Heads zeroed, or replaced by their mean, which does half of the damage."""
    selections = [(name, 0) for name in ("positive", "negative", "neutral", "greedy")]
    selections += [("random", draw) for draw in range(3)]
    frames: list[pl.DataFrame] = []
    for task, (operation, harm) in product(tasks, (("zero", 1.0), ("mean", 0.5))):
        of_task = prompts.filter(pl.col("task") == task)
        before = of_task["correct"].to_numpy().astype(bool)
        for n_heads, (selection, draw) in product(head_counts, selections):
            if selection == "greedy" and operation == "mean":
                continue
            damage = min(1.0, 0.02 * harm * n_heads**0.7 * (0.5 if selection == "random" else 1))
            kept, gained = generator.random(len(before)) > damage, generator.random(len(before))
            frames.append(
                of_task.select(
                    "task",
                    "split",
                    "prompt_id",
                    condition=len(frames),
                    importance=pl.lit("clusters"),
                    selection=pl.lit(selection),
                    operation=pl.lit(operation),
                    factor=0.0,
                    n_heads=n_heads,
                    seed=draw,
                    correct_before=before,
                    correct_after=np.where(before, kept, gained < 0.15 * (1 - damage)),
                    predicted_before=5,
                    predicted_id=5,
                    gate_probability=np.clip(0.5 + 0.3 * (2 * before - 1) + 0.1 * (gained - 0.5), 0, 1),
                )
            )
    schema = files.INTERVENTIONS.schema
    return pl.concat(frames).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _side_effects(generator: np.random.Generator, tasks: list[str]) -> pl.DataFrame:
    rows = []
    for task, measured_on in product(tasks, (*tasks, RANDOM_CODE)):
        if task == measured_on:
            continue
        for prompt in range(10):
            before = 2.0 if measured_on == RANDOM_CODE else float(prompt % 2)
            after = before + 0.1 * generator.random() if measured_on == RANDOM_CODE else before * (prompt > 1)
            rows.append((task, measured_on, prompt, before, after))
    return files.SIDE_EFFECTS.of_rows(rows)


def _generated(tasks: list[str]) -> pl.DataFrame:
    """Of ten holes six are exact before and eight after, nine parse before and seven after."""
    return files.GENERATED.of_rows(
        (task, f"F{hole}.java", f"p{hole}", hole + 1, "x", "x", hole < 6, hole < 9, "x", hole < 8, hole < 7)
        for task in tasks
        for hole in range(10)
    )


def _write_exemplars(
    study: Study, generator: np.random.Generator, clusters: pl.DataFrame, tokens: int
) -> None:
    """Exemplars of the first two clusters of every head."""
    found = clusters.filter(pl.col("cluster").is_between(0, 1)).select("layer", "head", "cluster").unique()
    layer, head, cluster = found.sort("layer", "head", "cluster").to_numpy().astype(np.int32).T
    patterns = np.stack([causal_pattern(generator, tokens) for _ in layer]).astype(np.float16)
    with study.writing(files.EXEMPLARS) as path:
        group = zarr.open_group(path, mode="w")
        group.create_array("patterns", data=patterns, compressors=None)
        for name, values in (("layer", layer), ("head", head), ("cluster", cluster)):
            group.create_array(name, data=values)
        group.create_array("prompt_id", data=np.arange(len(layer), dtype=np.int32))


def _write_history(study: Study, generator: np.random.Generator) -> None:
    steps = np.arange(1, 301)
    loss = 0.004 + 0.08 * np.exp(-steps / 40) * generator.uniform(0.85, 1.15, len(steps))
    validation = [
        float(value) * 1.1 if step % 50 == 0 else None for step, value in zip(steps, loss, strict=True)
    ]
    history = pl.DataFrame(
        {"step": steps, "loss": loss, "validation_loss": validation, "learning_rate": 1e-4 + 0 * loss},
        schema_overrides={"validation_loss": pl.Float64},
    )
    study.write(files.TRAINING_HISTORY, history.with_columns(gradient_norm=1.0))


def _write_records(study: Study) -> None:
    record = {
        "seed": 7,
        "weights": {
            "summary": "Made-1, 4-bit Q4_1, SHA-256 0123456789ab…",
            "general_name": "A Run's Name",
            "quantisation": "Q4_1",
            "sha256": {"Made-1.Q4_1.gguf": "0123456789ab" + 52 * "c"},
            "digest": 64 * "d",
            "instead_of": "Other.gguf of the package made_up",
        },
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "uncommitted_changes": False,
        "python": "3.11.9",
        "platform": "Linux-6.1-x86_64-with-glibc2.36",
        "cores": 2,
        "versions": {"apmae": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
    }
    with study.writing(files.PROVENANCE) as path:
        path.write_text(json.dumps(record), encoding="utf-8")
    stages = {
        "prompts": 95.2,
        "effects": 73.0,
        "train": 214.8,
        "encode": 130,
        "cluster": 41.3,
        "predict": 22,
        "intervene": 160.5,
    }
    counts = {
        "prompts": {"corpus": "12 made-up files", "format": "fim"},
        "effects": {"exact_seconds": 61.0, "attribution_seconds": 12.0},
    }
    for stage, seconds in stages.items():
        study.mark_done(stage, {"key": stage, "seconds": seconds, "counts": counts.get(stage, {})})


def rewrite(study: Study, table: files.Table, rows: pl.DataFrame) -> None:
    """Write another table into a study, whose stage stays done."""
    stage = files.stage_of(table.name)
    marker = None if stage is None else study.marker(stage)
    study.write(table, rows)
    if stage is not None and marker is not None:
        study.mark_done(stage, marker)
