"""Whole sets of defaults: the paper's choices, where they differ from those of `apmae.study.config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "paper": {
        "prompts": {
            "tasks": (
                "identifiers",
                "string_literals",
                "boolean_literals",
                "numeric_literals",
                "logical_operators",
                "numeric_operators",
                "compound_assignment_operators",
                "closing_bracket",
                "eol",
                "random",
                "noise",
            ),
            "per_task": 10_000,
            "encoder_prompts": 800_000,
        },
        "encoder": {
            "size": "paper",
            "scaling": "min_normalized",
            "token_values": "normalized",
            "row_tokens": False,
        },
        "training": {
            "steps": 150_000,
            "batch_size": 480,
            "warmup_fraction": 0.0,
            "heads_drawn_per": "prompt",
        },
        "encoding": {"readouts": ("cls",)},
        "clustering": {"method": "umap_hdbscan", "allow_single_cluster": True},
        "prediction": {
            "features": ("clusters",),
            "iterations": 1_000,
            "depth": 6,
            "early_stopping_rounds": 25,
        },
        "intervention": {
            "selections": ("positive_mean", "negative_mean", "neutral_mean", "random"),
            "operations": ("zero",),
        },
    },
}
"""By preset and section: keys and their values."""


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """A study file's values, with those of its preset in place of keys that it does not set."""
    preset, filled = values.get("preset"), dict(values)
    for name, defaults in (PRESETS.get(preset, {}) if isinstance(preset, str) else {}).items():
        given = values.get(name, {})
        if isinstance(given, BaseModel):
            given = given.model_dump(exclude_unset=True)
        if isinstance(given, Mapping):
            filled[name] = {**defaults, **given}
    return filled
