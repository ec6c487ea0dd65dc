"""A study file: its YAML read into a `StudyConfig`, and written back with every default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from apmae.common.errors import ApmaeError
from apmae.study.config import StudyConfig


class _TextLoader(yaml.SafeLoader):
    """Reads every scalar except null as text, so a field's type decides what `no` or `1e3` means."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """Parse a YAML document into mappings, lists, strings and None.

    Raises:
        yaml.YAMLError: the text is not valid YAML.
    """
    return yaml.load(text, Loader=_TextLoader)


def load_config(path: Path, overrides: list[str] | None = None) -> StudyConfig:
    """Read a study's YAML file and apply `section.key=value` overrides (values are YAML).

    Raises:
        ApmaeError: the file cannot be read or a key or value is wrong; the message names it.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ApmaeError(f"{path}: no such study file") from None
    except IsADirectoryError:
        raise ApmaeError(f"{path} is a directory; name a study's YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ApmaeError(f"{path}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(values, dict):
        raise ApmaeError(f"{path}: a study file holds a mapping of sections, see docs/config.md")
    for override in overrides or []:
        _apply_override(values, override)
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        raise ApmaeError(f"{path}: {_describe(error)}") from None


def dump_config(config: StudyConfig) -> str:
    """The resolved config as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ApmaeError(f"--set {override}: write it as section.key=value")
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ApmaeError(f"--set {override}: {section} is not a section")
    try:
        values[name] = read_yaml(text)
    except yaml.YAMLError as error:
        raise ApmaeError(f"--set {override}: not valid YAML: {_one_line(error)}") from None


def _describe(error: ValidationError) -> str:
    problems = []
    for detail in error.errors():
        where = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            problems.append(f"unknown key {where}")
        else:
            message = detail["msg"].removeprefix("Value error, ")
            given = "" if not where or isinstance(detail["input"], dict) else f" (got {detail['input']!r})"
            problems.append(f"{where}: {message}{given}" if where else message)
    return "; ".join(problems) + "; see docs/config.md"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
