"""The stages of a study in order: what is done, what is stale, and running the rest.

A stage's key is a hash of the seed, its config sections, and the keys of the stages it reads. A
stage is current when its marker carries that key; so a changed config redoes what depends on it,
and nothing else.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal

from apmae.common import distributed
from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, silent
from apmae.pipeline.context import Context, Inputs
from apmae.stages import STAGES, Stage, StageName
from apmae.study import Study
from apmae.study.artifacts import EVALUATION
from apmae.study.config import StudyConfig
from apmae.study.directory import stage_key
from apmae.study.lock import only_here

State = Literal["done", "damaged", "stale", "unfinished", "missing"]


def run(
    config: StudyConfig,
    *,
    only: StageName | None = None,
    verify: bool = False,
    progress: Progress = silent,
    announce: Callable[[str], None] = lambda line: None,
) -> Study:
    """Run the stages of a study that are not done.

    Args:
        config: what to study.
        only: run this stage alone.
        verify: read every file of the stages that are done, and do those again of which one is damaged. Else
            this is done for the stages that a further one builds on, and sizes are looked at for the others.
        progress: shows progress within a stage.
        announce: called with one line for every stage that is begun, finished or already done.

    Raises:
        ApmaeError: the directory holds another study, or another process works on it; a stage cannot run,
            or, with `only`, an earlier stage is missing; several processes were launched for a stage that
            runs in one.
    """
    _refuse_several_processes(only)
    distributed.join(config.target.device)
    if not distributed.is_main():
        return _run(config, only, verify, silent, lambda _line: None)
    Study(config, config.study_directory).refuse_foreign_directory()
    with only_here(config.study_directory):
        Study.create(config)
        return _run(config, only, verify, progress, announce)


def _run(
    config: StudyConfig,
    only: StageName | None,
    verify: bool,
    progress: Progress,
    announce: Callable[[str], None],
) -> Study:
    distributed.barrier()  # until the first one has made the directory
    study = Study.of(config)
    inputs = Inputs(study.config)
    if not _weights_record(study, inputs):
        _ = inputs.target  # from the hub: its weights, which the keys depend on, are not here yet
    if distributed.is_main():
        study.clear_leftovers()
        study.write_provenance(_weights_record(study, inputs))
    keys = stage_keys(study, inputs)
    for stage in STAGES:
        if only is not None and stage.name != only:
            continue
        _require_earlier(study, stage, keys, contents=only is not None)
        wrong: list[str] = []
        if state(study, stage.name, keys) in ("done", "damaged"):
            later = [each.name for each in STAGES if stage.name in each.needs]
            is_read = any(state(study, name, keys) != "done" for name in later)
            wrong = study.damaged(stage.name, contents=verify or is_read)
            if not wrong:
                announce(f"{stage.name}: already done")
                continue
            announce(f"{stage.name}: {wrong[0]}")
        announce(f"{stage.name}: started")
        distributed.barrier()  # until all have looked: what the first one does now changes the state
        if distributed.is_main():
            if wrong:
                study.discard(stage.name)
            study.unmark(stage.name)
            study.work_directory(stage.name, keys[stage.name])
        distributed.barrier()
        record = _run_stage(stage, Context(study, keys[stage.name], progress, inputs), keys)
        for note in record["counts"].get("notes", ()):
            announce(f"{stage.name}: {note}")
        announce(f"{stage.name}: done in {record['seconds']:.0f} s")
    return study


def stage_keys(study: Study, inputs: Inputs) -> dict[StageName, str]:
    """The key that every stage of the study has under its config."""
    keys: dict[StageName, str] = {}
    for stage in STAGES:
        read: dict[str, str] = {name: keys[name] for name in stage.needs}
        if "corpus" in stage.sections:
            weights = _weights_record(study, inputs).get("digest", "")
            read |= {"corpus": _corpus_fingerprint(study, inputs), "weights": weights}
        if stage.name == "report":
            read |= _evaluation_fingerprint(study)
        keys[stage.name] = stage_key(study.config, stage, read)
    return keys


def state(study: Study, name: StageName, keys: dict[StageName, str]) -> State:
    """Whether a stage is done, was done for another config, was begun, or is missing.

    It is damaged where it is done and a file has another size now than it was written with.
    """
    marker = study.marker(name)
    if marker is not None:
        if marker["key"] != keys[name]:
            return "stale"
        return "damaged" if study.damaged(name) else "done"
    owner = study.path("work") / name / "key"
    return "unfinished" if owner.exists() and owner.read_text() == keys[name] else "missing"


def _run_stage(stage: Stage, context: Context, keys: dict[StageName, str]) -> dict[str, Any]:
    started = time.monotonic()
    counts = import_module(stage.module).run(context)
    record: dict[str, Any] = {
        "key": context.key,
        "needs": {name: keys[name] for name in stage.needs},
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mib": _peak_memory_mib(),
        "counts": counts,
    }
    if "corpus" in stage.sections:
        record["corpus"] = context.corpus.fingerprint
        record["weights"] = context.inputs.weights.record()
    distributed.barrier()
    if distributed.is_main():
        context.study.mark_done(stage.name, record)
    return record


def _refuse_several_processes(only: StageName | None) -> None:
    if distributed.world_size() > 1 and not any(stage.shared for stage in STAGES if stage.name == only):
        together = ", ".join(f"`apmae {stage.name}`" for stage in STAGES if stage.shared)
        raise ApmaeError(
            f"`apmae {only or 'run'}` runs in one process: of the stages, only {together} can be launched "
            "with several"
        )


def _require_earlier(study: Study, stage: Stage, keys: dict[StageName, str], *, contents: bool) -> None:
    for name in stage.needs:
        found = state(study, name, keys)
        if contents or found == "damaged":
            study.require_intact(name, contents=contents)
        if found != "done":
            why = "was made by another config" if found == "stale" else "is not done"
            raise ApmaeError(
                f"{stage.name} needs the stage {name}, which {why}: run `apmae run` or `apmae {name}`"
            )


def _corpus_fingerprint(study: Study, inputs: Inputs) -> str:
    """Identity of the source files; the recorded one where they are gone since a stage read them."""
    try:
        return inputs.corpus.fingerprint
    except ApmaeError:
        recorded = _recorded(study, "corpus")
        if recorded is None:
            raise
        return str(recorded)


def _weights_record(study: Study, inputs: Inputs) -> dict[str, Any]:
    """The target's weights, as recorded where they are gone since a stage ran them; empty if unknown."""
    try:
        found = inputs.weights
    except ApmaeError:
        found = None
    if found is not None and found.files:
        return found.record()
    recorded: dict[str, Any] = _recorded(study, "weights") or {}
    return recorded


def _recorded(study: Study, name: str) -> Any:
    """What the first stage recorded of the corpus, or of the weights, that reads them; None if none did."""
    markers = (study.marker(stage.name) for stage in STAGES if "corpus" in stage.sections)
    return next((marker[name] for marker in markers if marker and name in marker), None)


def _evaluation_fingerprint(study: Study) -> dict[str, str]:
    """Identity of the evaluation in the study's directory, which its report shows; empty without one."""
    path = study.path(EVALUATION)
    return {"evaluation": hashlib.sha256(path.read_bytes()).hexdigest()} if path.exists() else {}


def _peak_memory_mib() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
