"""The stages of all variants up to their encodings; what is the same for two is made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import groupby

from apmae import pipeline
from apmae.common.progress import Progress
from apmae.encoding import stage as encoding
from apmae.stages import StageName
from apmae.study import Study
from apmae.study.artifacts import ENCODER, PROMPTS, TASKS, Table
from apmae.study.config import StudyConfig
from apmae.target_model import Target

Announce = Callable[[str], None]

ARTIFACTS: dict[StageName, tuple[str | Table, ...]] = {"prompts": (PROMPTS, TASKS), "train": (ENCODER,)}
"""What the stages before `encode` write."""


def run_stages(configs: Sequence[StudyConfig], progress: Progress, announce: Announce) -> list[Study]:
    """Mine prompts, train and encode; what is done is left alone."""
    studies: list[Study] = []
    for config in configs:
        study = Study.create(config)
        for stage in ARTIFACTS:
            take_over(study, studies, stage, announce)
            pipeline.run(config, only=stage, progress=progress, announce=_naming(config, announce))
        studies.append(study)
    encode(studies, progress, announce)
    return studies


def keys_of(study: Study) -> dict[StageName, str]:
    """The key of every stage."""
    return pipeline.stage_keys(study, pipeline.Inputs(study.config))


def take_over(study: Study, others: Sequence[Study], stage: StageName, announce: Announce) -> None:
    """Copy a stage from a study that did the same, if there is one and the stage is not done."""
    key = keys_of(study)[stage]
    twin = next((other for other in others if _is_done(other, stage, key)), None)
    if twin is None or _is_done(study, stage, key):
        return
    announce(f"{study.config.name}: {stage}: as in {twin.config.name}")
    study.unmark(stage)
    for name in ARTIFACTS[stage]:
        source = twin.path(name)
        with study.writing(name) as path:
            if source.is_dir():
                shutil.copytree(source, path)
            else:
                shutil.copy(source, path)
    marker = twin.marker(stage)
    assert marker is not None
    study.mark_done(stage, marker)


def encode(studies: Sequence[Study], progress: Progress, announce: Announce) -> None:
    """Encode the prompts, with one pass of the target for all encoders of one size of patches."""

    def patch_size(job: tuple[Study, str]) -> int:
        return job[0].config.encoder.patch_size

    jobs = [(study, keys_of(study)["encode"]) for study in studies]
    pending = [(study, key) for study, key in jobs if not _is_done(study, "encode", key)]
    for size, alike in groupby(sorted(pending, key=patch_size, reverse=True), patch_size):
        together = list(alike)
        names = ", ".join(study.config.name for study, _ in together)
        announce(f"encode, patches of {size}: {names}")
        target = Target.from_config(together[0][0].config.target)
        encoding.run_together(together, progress, target)
    for study, _ in pending:  # finds every shard written, and marks the stage
        pipeline.run(study.config, only="encode", announce=_naming(study.config, announce))


def _is_done(study: Study, stage: StageName, key: str) -> bool:
    marker = study.marker(stage)
    return marker is not None and marker["key"] == key


def _naming(config: StudyConfig, announce: Announce) -> Announce:
    return lambda line: announce(f"{config.name}: {line}")
