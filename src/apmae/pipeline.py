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
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from apmae import processes
from apmae.artifacts import EVALUATION
from apmae.config import StudyConfig
from apmae.errors import ApmaeError
from apmae.progress import Tracker, silent
from apmae.study import Study, stage_key

if TYPE_CHECKING:
    from apmae import reconstruction
    from apmae.corpus import Corpus
    from apmae.target import Target

StageName = Literal["prompts", "train", "encode", "cluster", "predict", "intervene", "report"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)

State = Literal["done", "stale", "unfinished", "missing"]
Counts = dict[str, object]


class Run:
    """What the stages of one run share: the study, the progress display, the corpus, the target."""

    def __init__(self, study: Study, track: Tracker) -> None:
        self.study = study
        self.track = track

    @cached_property
    def corpus(self) -> Corpus:
        """The source files, listed once.

        Raises:
            ApmaeError: they are not there.
        """
        from apmae.corpus import open_corpus

        return open_corpus(self.study.config.corpus, self.study.config.seed)

    @cached_property
    def target(self) -> Target:
        """The target model, loaded once."""
        from apmae.target import Target

        return Target.from_config(self.study.config.target)


@dataclass(frozen=True)
class Stage:
    """One step of a study.

    Attributes:
        sections: the config sections that it depends on itself.
        needs: the stages whose artifacts it reads.
        work: does it, given the shared state and the stage's key; returns counts for the marker,
            of which `notes` are lines that the user should read.
        shared: whether several processes can do it together.
    """

    name: StageName
    sections: tuple[str, ...]
    needs: tuple[StageName, ...]
    work: Callable[[Run, str], Counts]
    shared: bool = False


def run(
    config: StudyConfig,
    *,
    only: StageName | None = None,
    track: Tracker = silent,
    announce: Callable[[str], None] = lambda line: None,
) -> Study:
    """Run the stages of a study that are not done.

    Args:
        config: what to study.
        only: run this stage alone.
        track: shows progress within a stage.
        announce: called with one line for every stage that is begun, finished or already done.

    Raises:
        ApmaeError: the directory holds another study, a stage cannot run, or, with `only`, an
            earlier stage is missing; several processes were launched for a stage that runs in one.
    """
    _refuse_several_processes(only)
    processes.join(config.target.device)
    if processes.is_first():
        Study.create(config).write_provenance()
    else:
        track, announce = silent, lambda _line: None
    processes.wait()
    study = Study.of(config)
    shared = Run(study, track)
    keys = stage_keys(shared)
    for stage in STAGES:
        if only is not None and stage.name != only:
            continue
        _require_earlier(study, stage, keys)
        if state(study, stage.name, keys) == "done":
            announce(f"{stage.name}: already done")
            continue
        announce(f"{stage.name}: started")
        processes.wait()  # until all have looked: what the first one does now changes the state
        if processes.is_first():
            study.unmark(stage.name)
            study.work_directory(stage.name, keys[stage.name])
        processes.wait()
        record = _run_stage(stage, shared, keys[stage.name])
        for note in record["counts"].get("notes", ()):
            announce(f"{stage.name}: {note}")
        announce(f"{stage.name}: done in {record['seconds']:.0f} s")
    return study


def stage_keys(shared: Run) -> dict[StageName, str]:
    """The key that every stage of the study has under its config."""
    keys: dict[StageName, str] = {}
    for stage in STAGES:
        inputs: dict[str, str] = {name: keys[name] for name in stage.needs}
        if stage.name == "prompts":
            inputs = {"corpus": _corpus_fingerprint(shared)}
        if stage.name == "report":
            inputs |= _evaluation_fingerprint(shared.study)
        keys[stage.name] = stage_key(shared.study.config, stage.sections, inputs)
    return keys


def state(study: Study, name: StageName, keys: dict[StageName, str]) -> State:
    """Whether a stage is done, was done for another config, was begun, or is missing."""
    marker = study.marker(name)
    if marker is not None:
        return "done" if marker["key"] == keys[name] else "stale"
    owner = study.path("work") / name / "key"
    return "unfinished" if owner.exists() and owner.read_text() == keys[name] else "missing"


def _run_stage(stage: Stage, shared: Run, key: str) -> dict[str, Any]:
    started = time.monotonic()
    counts = stage.work(shared, key)
    record: dict[str, Any] = {
        "key": key,
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_mib": _peak_memory_mib(),
        "counts": counts,
    }
    if stage.name == "prompts":
        record["corpus"] = shared.corpus.fingerprint
    processes.wait()
    if processes.is_first():
        shared.study.mark_done(stage.name, record)
    return record


def _refuse_several_processes(only: StageName | None) -> None:
    if processes.count() > 1 and not any(stage.shared for stage in STAGES if stage.name == only):
        together = " and ".join(f"`apmae {stage.name}`" for stage in STAGES if stage.shared)
        raise ApmaeError(
            f"`apmae {only or 'run'}` runs in one process: of the stages, only {together} can be launched "
            "with several"
        )


def _require_earlier(study: Study, stage: Stage, keys: dict[StageName, str]) -> None:
    for name in stage.needs:
        found = state(study, name, keys)
        if found != "done":
            why = "was made by another config" if found == "stale" else "is not done"
            raise ApmaeError(
                f"{stage.name} needs the stage {name}, which {why}: run `apmae run` or `apmae {name}`"
            )


def _corpus_fingerprint(shared: Run) -> str:
    """Identity of the source files; the recorded one where they are gone since prompts were made."""
    try:
        return shared.corpus.fingerprint
    except ApmaeError:
        marker = shared.study.marker("prompts")
        if marker is None:
            raise
        return str(marker["corpus"])


def _evaluation_fingerprint(study: Study) -> dict[str, str]:
    """Identity of the evaluation in the study's directory, which its report shows; empty without one."""
    path = study.path(EVALUATION)
    return {"evaluation": hashlib.sha256(path.read_bytes()).hexdigest()} if path.exists() else {}


def _peak_memory_mib() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _prompts(shared: Run, key: str) -> Counts:
    from apmae import mining, training

    training.check_pretrained(shared.study.config)
    return mining.run(shared.study, key, shared.track, shared.target, shared.corpus)


def _train(shared: Run, key: str) -> Counts:
    from apmae import training

    return training.run(shared.study, key, shared.track, lambda: shared.target)


def _encode(shared: Run, key: str) -> Counts:
    from apmae import encoding

    return encoding.run(shared.study, key, shared.track, shared.target)


def _cluster(shared: Run, key: str) -> Counts:
    from apmae import clustering, encoding

    return clustering.run(
        shared.study, key, shared.track, encoding.pattern_source(shared.study, shared.target)
    )


def _predict(shared: Run, key: str) -> Counts:
    from apmae import prediction

    return prediction.run(shared.study, key, shared.track)


def _intervene(shared: Run, key: str) -> Counts:
    from apmae import intervention

    return intervention.run(shared.study, key, shared.track, shared.target)


def _report(shared: Run, key: str) -> Counts:
    from apmae import report
    from apmae.encoding import load_encoder
    from apmae.reconstruction import reconstructions

    def reconstruct() -> list[reconstruction.Reconstruction]:
        return reconstructions(shared.study, shared.target, load_encoder(shared.study, shared.target.device))

    return report.run(shared.study, key, shared.track, reconstruct)


STAGES = (
    Stage("prompts", ("target", "corpus", "prompts"), (), _prompts),
    Stage("train", ("encoder", "training"), ("prompts",), _train, shared=True),
    Stage("encode", ("encoding",), ("prompts", "train"), _encode, shared=True),
    Stage("cluster", ("clustering",), ("encode",), _cluster),
    Stage("predict", ("prediction",), ("prompts", "encode", "cluster"), _predict),
    Stage("intervene", ("intervention",), ("prompts", "encode", "cluster", "predict"), _intervene),
    Stage("report", ("report",), ("prompts", "train", "encode", "cluster", "predict", "intervene"), _report),
)
