"""One checksum for contents that are only compared with themselves: BLAKE2b of 16 bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path


def new_checksum(data: bytes = b"") -> hashlib.blake2b:
    """A checksum to update."""
    return hashlib.blake2b(data, digest_size=16)


def checksum_of(path: Path) -> str:
    """A file's checksum, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, new_checksum).hexdigest()
