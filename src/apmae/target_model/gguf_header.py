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


MOST_ITEMS = 1 << 22
"""Items of an array; the largest vocabularies have some hundred thousand."""


def general_metadata(path: Path) -> dict[str, Any]:
    """The values of the keys `general.*`, without that prefix; empty for a file that is no whole GGUF file.

    Nothing that the file claims of its sizes is believed beyond its own size.

    Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
    """
    with path.open("rb") as file, suppress(struct.error, UnicodeDecodeError, KeyError):
        reader = _Reader(file, path.stat().st_size)
        if reader.take(4) != MAGIC:
            return {}
        _version, _tensors, entries = struct.unpack("<IQQ", reader.take(20))
        found = {}
        for _ in range(entries):
            key = reader.value(STRING)
            found[key] = reader.entry()
        return {key.removeprefix(GENERAL): value for key, value in found.items() if key.startswith(GENERAL)}
    return {}


class _Reader:
    """Reads values one after the other."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            struct.error: there are not so many.
        """
        if count > self._left:
            raise struct.error("the file is cut off")
        self._left -= count
        return self._file.read(count)

    def entry(self) -> Any:
        """A value behind its type; an array is a list. Arrays within arrays occur in no model's file."""
        kind = self.value(4)
        if kind != ARRAY:
            return self.value(kind)
        item, count = self.value(4), self.value(10)
        if count > MOST_ITEMS:
            raise struct.error("the array is too long")
        return [self.value(item) for _ in range(count)]

    def value(self, kind: int) -> Any:
        """A value of a type that is no array.

        Raises:
            KeyError: there is no such type.
        """
        if kind == STRING:
            return self.take(self.value(10)).decode()
        layout = struct.Struct("<" + FORMATS[kind])
        return layout.unpack(self.take(layout.size))[0]
