"""Variants: the base study with some keys changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError

from apmae.common.errors import ApmaeError
from apmae.study.config import Section, StudyConfig
from apmae.study.study_file import load_config, read_yaml


class Variant(NamedTuple):
    """A study of its own, and what is special about it in a few words."""

    name: str
    about: str
    config: StudyConfig


class VariantRow(Section):
    """An entry of the file of variants; `changes` are overrides, `section.key=value`."""

    name: str
    about: str
    changes: tuple[str, ...]


def load_variants(
    base: Path, file: Path, overrides: Sequence[str] = (), only: Sequence[str] = ()
) -> list[Variant]:
    """Read the variants; their directories lie in that of the base study.

    Args:
        base: the base study's file.
        file: the list of variants.
        overrides: changes of every variant, before its own.
        only: names of the variants to read; empty: all.

    Raises:
        ApmaeError: a file cannot be read, a change is wrong, two variants have one name, or there is none
            of a name in `only`.
    """
    root = load_config(base, list(overrides)).study_directory
    try:
        rows = TypeAdapter(list[VariantRow]).validate_python(read_yaml(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ApmaeError(f"{file}: not a list of variants: {' '.join(str(error).split())}") from None
    if not rows or len({row.name for row in rows}) < len(rows):
        raise ApmaeError(f"{file}: give every variant a name of its own, and at least one variant")
    if unknown := set(only) - {row.name for row in rows}:
        raise ApmaeError(f"{file}: has no variant {', '.join(sorted(unknown))}")
    return [
        Variant(
            row.name, row.about, load_config(base, [*overrides, *row.changes, *_identity(row.name, root)])
        )
        for row in rows
        if not only or row.name in only
    ]


def _identity(name: str, root: Path) -> list[str]:
    return [f"name={name}", f"directory={root / name}"]
