"""What is evaluated: encoders, targets, and the held-out prompts of each target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from apmae.autoencoder import APMAEModel
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.study import Study
from apmae.study.artifacts import CONFIG, ENCODER
from apmae.study.config import StudyConfig
from apmae.training.prompts import encoder_prompts


@dataclass(frozen=True)
class EncoderRow:
    """A row of the table: an AP-MAE in eval mode, and the study that it comes from, if any."""

    name: str
    model: APMAEModel
    study: Study | None


@dataclass(frozen=True)
class TargetColumn:
    """A column of the table: a target's held-out prompts, and the config that made them."""

    config: StudyConfig
    prompts: pl.DataFrame

    @property
    def name(self) -> str:
        """The target's name."""
        return self.config.target.model


def find_encoders(names: Sequence[str], trust_remote_code: bool) -> list[EncoderRow]:
    """Load encoders: of studies' directories, directories of their own, or hub ids.

    Raises:
        ApmaeError: one cannot be read, or two have one name.
    """
    rows = [_open_encoder(name, trust_remote_code) for name in names]
    _require_unique_names("encoders", [row.name for row in rows])
    return rows


def find_studies(
    targets: Sequence[str],
    studies: Sequence[Study],
    base: StudyConfig | None,
    mined: Path,
    trust_remote_code: bool,
) -> list[Study]:
    """The study whose prompts each target is evaluated on.

    It is the directory that is named as target, else the first of `studies` that has the target, else
    a new one in the directory `mined`, with the config `base` or, without it, that of the first study.

    Raises:
        ApmaeError: there is no config to mine prompts with, or two targets have one name.
    """
    named = [study for target in targets if (study := _study_at(target, trust_remote_code))]
    base = base or next((study.config for study in (*studies, *named)), None)
    found = []
    for target in targets:
        study = _study_at(target, trust_remote_code)
        with_target = (study for study in studies if study.config.target.model == target)
        found.append(study or next(with_target, None) or _study_to_mine(target, base, mined))
    _require_unique_names("targets", [study.config.target.model for study in found])
    return found


def held_out_prompts(study: Study, count: int) -> pl.DataFrame:
    """The first `count` of the prompts that a study's encoder can be validated on.

    Raises:
        ApmaeError: there is none.
    """
    training = study.config.training.model_copy(update={"validation_prompts": count})
    _, prompts = encoder_prompts(study.prompts, training)
    if prompts.is_empty():
        right = " that is completed correctly" if training.correct_only else ""
        raise ApmaeError(
            f"{study.directory} has no held-out encoder prompt{right}: raise prompts.encoder_prompts"
        )
    return prompts


def agree_on_masks(rows: Sequence[EncoderRow], mask_ratio: float | None) -> None:
    """Give all encoders one mask ratio: `mask_ratio`, or the one that they have.

    Raises:
        ApmaeError: they read patterns or patches of different sizes, or mask different fractions.
    """
    first = rows[0]
    for row in rows:
        for size in ("pattern_size", "patch_size"):
            one, other = getattr(first.model.config, size), getattr(row.model.config, size)
            if one != other:
                raise ApmaeError(
                    f"{first.name} has {size} {one} and {row.name} {other}: no masks are the same for both"
                )
        if mask_ratio is not None:
            row.model.config.mask_ratio = mask_ratio
            row.model.config.check()
        one, other = first.model.config.mask_ratio, row.model.config.mask_ratio
        if one != other:
            raise ApmaeError(
                f"{first.name} masks {one} of the patches and {row.name} {other}: "
                "choose one with --mask-ratio"
            )


def check_sizes(rows: Sequence[EncoderRow], config: StudyConfig) -> None:
    """Raise ApmaeError where the prompts of a target are not as long as the encoders' patterns."""
    size, asked = rows[0].model.config.pattern_size, config.prompts.length_tokens
    if size != asked:
        raise ApmaeError(
            f"{rows[0].name} reads patterns of {size} tokens, "
            f"but the prompts of {config.target.model} have {asked}"
        )


def _open_encoder(name: str, trust_remote_code: bool) -> EncoderRow:
    study = _study_at(name, trust_remote_code)
    if study is None:
        return EncoderRow(name.rstrip("/"), _load(name), None)
    if not study.path(ENCODER).exists():
        raise ApmaeError(f"{name} has no encoder yet: run `apmae train` on the study first")
    return EncoderRow(study.config.name, _load(str(study.path(ENCODER))), study)


def _load(path: str) -> APMAEModel:
    model = APMAEModel.from_pretrained(path)
    model.float().eval()
    return model


def _study_at(name: str, trust_remote_code: bool) -> Study | None:
    return Study.open(name, trust_remote_code) if (Path(name) / CONFIG).exists() else None


def _study_to_mine(target: str, base: StudyConfig | None, directory: Path) -> Study:
    if base is None:
        raise ApmaeError(
            f"no study has the target {target}: give --study STUDY.yaml to mine its prompts with"
        )
    name = f"{derive_seed(0, target):08x}-" + re.sub(r"[^A-Za-z0-9]+", "-", Path(target).name)
    # Only the prompts that encoders are trained on are wanted; of the tasks, noise costs least.
    prompts = base.prompts.model_copy(update={"tasks": ("noise",), "per_task": 4})
    changes = {
        "name": name,
        "directory": directory / name,
        "target": base.target.model_copy(update={"model": target}),
        "prompts": prompts,
    }
    return Study(base.model_copy(update=changes), directory / name)


def _require_unique_names(kind: str, names: Sequence[str]) -> None:
    if twins := [name for name, count in Counter(names).items() if count > 1]:
        raise ApmaeError(f"two {kind} are called {twins[0]!r}: name each once")
