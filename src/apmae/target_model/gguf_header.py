"""The metadata at the start of a GGUF file.

The reader of the package `gguf` makes arrays of every value and tensor, which takes seconds.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

MAGIC = b"GGUF"
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Numbers of the metadata's value types, and their `struct` formats."""
STRING, ARRAY = 8, 9
GENERAL = "general."


def general_metadata(path: Path) -> dict[str, Any]:
    """The values of the keys `general.*`, without that prefix; empty for a file that is no whole GGUF file.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
    """
    with path.open("rb") as file, suppress(struct.error, UnicodeDecodeError, KeyError):
        if file.read(4) != MAGIC:
            return {}
        _version, _tensors, entries = struct.unpack("<IQQ", file.read(20))
        found = {_value(file, STRING): _value(file, _value(file, 4)) for _ in range(entries)}
        return {key.removeprefix(GENERAL): value for key, value in found.items() if key.startswith(GENERAL)}
    return {}


def _value(file: IO[bytes], kind: int) -> Any:
    if kind == STRING:
        return file.read(_value(file, 10)).decode()
    if kind == ARRAY:
        item, count = _value(file, 4), _value(file, 10)
        return [_value(file, item) for _ in range(count)]
    layout = struct.Struct("<" + FORMATS[kind])
    return layout.unpack(file.read(layout.size))[0]
