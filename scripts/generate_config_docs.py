"""Write docs/config.md from the config models; `--check` fails where the file is not up to date."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from apmae.common.markdown import markdown_table
from apmae.study.config import Section, StudyConfig
from apmae.study.presets import PRESETS

PAGE = Path(__file__).parent.parent / "docs" / "config.md"
INTRODUCTION = """\
# Configuration

A study is one YAML file. Every key has a default except `name`; an unknown key is an error.
`--set section.key=value` overrides a key on the command line, the value being YAML.

A key's type decides how its value is read: `no` is a word in a text and false in a true/false key, `1e3` is a
whole number, and `2024` can be a name. A single value is accepted where a list is expected.

This page is generated from `src/apmae/study/config.py` by `make docs`.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _table("Top level", StudyConfig)]
    for name, field in StudyConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            parts.append(_table(f"`{name}`", field.annotation))
    parts.append(_preset("paper"))
    return "\n".join(parts)


def _table(title: str, section: type[Any]) -> str:
    lines = [
        f"## {title}",
        "",
        *(inspect.cleandoc(section.__doc__ or ""), ""),
    ]
    rows = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            continue
        default = "required" if field.default is PydanticUndefined else f"`{_value(field.default)}`"
        meaning = " ".join((field.description or "").split())
        rows.append((f"`{name}`", _type(field.annotation), default, meaning))
    return "\n".join([*lines, markdown_table(("key", "type", "default", "meaning"), rows)]) + "\n"


def _preset(name: str) -> str:
    rows = [
        f"| `{section}.{key}` | `{_value(value)}` | `{_value(_default(section, key))}` |"
        for section, keys in PRESETS[name].items()
        for key, value in keys.items()
    ]
    head = [f"## `preset: {name}`", "", "| key | value | default |", "|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _default(section: str, key: str) -> object:
    return getattr(StudyConfig.model_fields[section].default, key)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if value is None or isinstance(value, bool)
        else str(value)
    )


def _type(annotation: Any) -> str:
    arguments = get_args(annotation)
    text = str(annotation)
    if text.startswith("typing.Literal"):
        return ", ".join(f"`{argument}`" for argument in arguments)
    if text.startswith("tuple"):
        return f"list of {_type(arguments[0])}"
    if text.startswith("typing.Annotated"):
        return _type(arguments[0])
    if arguments:
        return (
            " or ".join(_type(argument) for argument in arguments if argument is not type(None)) + ", or null"
        )
    name: str = annotation.__name__
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true, false"}.get(
        name, name.lower()
    )


def main() -> None:
    """Write the page, or compare it."""
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/config.md is not what src/apmae/study/config.py says: run `make docs`")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
