"""A study file: its YAML read into a `StudyConfig`, and written back with every default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from apmae.common.errors import ApmaeError
from apmae.study.config import StudyConfig

LONGEST_FILE = 1 << 20
"""Bytes of a study file."""
LONGEST_MESSAGE = 160
"""Characters of what is said about a study file, its name not counted."""
LONGEST_OVERRIDE = 60
"""Characters of an override that are repeated."""


class _PlainLoader(yaml.SafeLoader):
    """Composes documents in which nothing is written once and meant twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "aliases (*) have no meaning in a study file", mark)
        return super().compose_node(parent, index)


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(text: str) -> Any:
    """Parse a YAML document into mappings, lists, strings and None.

    Every scalar except null is text, so a field's type decides what `no` or `1e3` means.

    Raises:
        yaml.YAMLError: the text is not valid YAML, names a key twice, or has aliases or tags.
    """
    try:
        node = yaml.compose(text, Loader=_PlainLoader)
        return None if node is None else _values(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # PyYAML takes \U00110000 for a character
        raise yaml.YAMLError(str(error)) from None


def _values(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key, value in node.value:
            name = _values(key)
            if not isinstance(name, str):
                raise ConstructorError(None, None, "a key is not a word", key.start_mark)
            if name in found:
                raise ConstructorError(None, None, f"{name} is there twice", key.start_mark)
            found[name] = _values(value)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_values(value) for value in node.value]
    kind = node.tag.rpartition(":")[2]
    if kind not in ("str", "null"):
        raise ConstructorError(None, None, f"the tag {node.tag} has no meaning here", node.start_mark)
    return None if kind == "null" else node.value


def load_config(path: Path, overrides: list[str] | None = None) -> StudyConfig:
    """Read a study's YAML file and apply `section.key=value` overrides (values are YAML).

    Raises:
        ApmaeError: the file cannot be read or a key or value is wrong; the message names it.
    """
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise ApmaeError(f"{path} is no study file: it has more than a mebibyte")
        values = read_yaml(path.read_text(encoding="utf-8-sig"))
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
    named = f"--set {_short(override, LONGEST_OVERRIDE)}"
    if not separator or not key:
        raise ApmaeError(f"{named}: write it as section.key=value")
    *sections, name = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ApmaeError(f"{named}: {_short(section, LONGEST_OVERRIDE)} is not a section")
    try:
        values[name] = read_yaml(text)
    except yaml.YAMLError as error:
        raise ApmaeError(f"{named}: not valid YAML: {_one_line(error)}") from None


def _describe(error: ValidationError) -> str:
    problems = []
    for detail in error.errors():
        where = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            problems.append(f"unknown key {where}")
        elif detail["type"] == "model_type":
            problems.append(f"{where} is a section: write its keys below it")
        else:
            message = detail["msg"].removeprefix("Value error, ")
            given = "" if not where or isinstance(detail["input"], dict) else f" (got {detail['input']!r})"
            problems.append(f"{where}: {message}{given}" if where else message)
    return _short("; ".join(problems)) + "; see docs/config.md"


def _one_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return _short(f"line {error.problem_mark.line + 1}: {error.problem}")
    return _short(str(error))


def _short(text: str, longest: int = LONGEST_MESSAGE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}..."
