"""The stages of a study, in order. This module imports nothing of apmae."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

StageName = Literal[
    "prompts",
    "tokens",
    "token_predictor",
    "effects",
    "roles",
    "train",
    "encode",
    "cluster",
    "predict",
    "intervene",
    "report",
]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        about: what it does, in a line.
        sections: the config sections, or keys of the top level, that it depends on itself.
        needs: the stages whose artifacts it reads.
        module: has `run(context)`, which does the stage and returns counts for its marker, of which
            `notes` are lines that the user should read. It is imported when the stage runs.
        shared: whether several processes can do it together.
        version: goes up when what it makes changes, so that it is done again in studies of before, and so is
            what needs it.
    """

    name: StageName
    about: str
    sections: tuple[str, ...]
    needs: tuple[StageName, ...]
    module: str
    shared: bool = False
    version: int = 6


STAGES = (
    Stage(
        "prompts",
        "Mine completion prompts from source code, and run the target on them.",
        ("target", "corpus", "prompts"),
        (),
        "apmae.prompts.stage",
        version=7,
    ),
    Stage(
        "tokens",
        "Run windows of the corpus, and keep what the target and its heads show of single tokens.",
        ("target", "corpus", "prompts", "tokens"),
        (),
        "apmae.token_study.stage",
        shared=True,
    ),
    Stage(
        "token_predictor",
        "Predict of single tokens whether the target is correct.",
        ("token_predictor",),
        ("tokens",),
        "apmae.token_study.predictor_stage",
        version=7,
    ),
    Stage(
        "effects",
        "Measure what every head does: ablate it, and see how the target's completions change.",
        ("effects", "measured_split"),
        ("prompts",),
        "apmae.effects.stage",
    ),
    Stage(
        "roles",
        "Score what every head looks at: the token before, the matching bracket, a name's declaration.",
        ("target", "corpus", "prompts", "tokens", "roles"),
        (),
        "apmae.roles.stage",
    ),
    Stage(
        "train",
        "Train the AP-MAE on the target's attention patterns.",
        ("encoder", "training"),
        ("prompts",),
        "apmae.training.stage",
        shared=True,
    ),
    Stage(
        "encode",
        "Encode every head's pattern on every prompt.",
        ("encoding",),
        ("prompts", "train"),
        "apmae.encoding.stage",
        shared=True,
    ),
    Stage(
        "cluster",
        "Cluster each head's encodings.",
        ("clustering", "measured_split"),
        ("encode",),
        "apmae.clustering.stage",
    ),
    Stage(
        "predict",
        "Predict whether completions are correct: from clusters, other features, and baselines.",
        ("prediction",),
        ("prompts", "encode", "cluster"),
        "apmae.prediction.stage",
    ),
    Stage(
        "intervene",
        "Ablate or scale heads, and measure how the target's accuracy changes.",
        ("intervention",),
        ("prompts", "effects", "encode", "cluster", "predict"),
        "apmae.intervention.stage",
    ),
    Stage(
        "report",
        "Write the report: one page that opens from disk.",
        ("report",),
        (
            "prompts",
            "token_predictor",
            "effects",
            "roles",
            "train",
            "encode",
            "cluster",
            "predict",
            "intervene",
        ),
        "apmae.report.stage",
        version=7,
    ),
)


def stage_named(name: StageName) -> Stage:
    """The stage of a name."""
    return next(stage for stage in STAGES if stage.name == name)
