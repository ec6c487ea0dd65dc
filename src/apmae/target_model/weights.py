"""The weights of a target, which its name does not tell: their files' hashes and quantisation."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from apmae.target_model.gguf_header import general_metadata
from apmae.target_model.source import Source, local_file, resolve

SAFETENSORS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Weights:
    """The files that a target's weights are read from.

    Attributes:
        source: where the target's name leads.
        files: the files; none where they are not on this machine.
    """

    source: Source
    files: tuple[Path, ...]

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What a GGUF file says of itself: `name`, `file_type` and more; empty for other files."""
        return general_metadata(self.files[0]) if self.source.gguf_file and self.files else {}

    @property
    def quantisation(self) -> str | None:
        """GGUF's quantisation type of most of the weights, such as `Q4_1`; None for other files."""
        if "file_type" not in self.metadata:
            return None
        from gguf import LlamaFileType

        return str(LlamaFileType(self.metadata["file_type"]).name.removeprefix("MOSTLY_"))

    @property
    def name(self) -> str:
        """The GGUF file's name without its quantisation, or the name of the directory or repository."""
        stem = Path(self.source.gguf_file or self.source.location).name.removesuffix(".gguf")
        return re.sub(rf"[.-]{re.escape(self.quantisation)}$", "", stem) if self.quantisation else stem

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name."""
        return {path.name: sha256_of(path) for path in self.files}

    @property
    def digest(self) -> str:
        """One SHA-256 for all files, whatever they are called; empty without files."""
        text = "\n".join(sorted(self.hashes.values()))
        return hashlib.sha256(text.encode()).hexdigest() if text else ""

    @property
    def summary(self) -> str:
        """For people: `SmolLM2-135M-Instruct, 4-bit Q4_1, SHA-256 b179c9523d0e…`."""
        bits = re.match(r"I?Q(\d)", self.quantisation or "")
        kind = f"{bits[1]}-bit {self.quantisation}" if bits else self.quantisation
        hashed = self.digest if len(self.files) > 1 else "".join(self.hashes.values())
        parts = [self.name, kind, hashed and f"SHA-256 {hashed[:12]}…"]
        return ", ".join(part for part in parts if part)

    def record(self) -> dict[str, Any]:
        """What a study keeps of them."""
        return {
            "summary": self.summary,
            "general_name": self.metadata.get("name"),
            "quantisation": self.quantisation,
            "sha256": self.hashes,
            "digest": self.digest,
            "instead_of": self.source.instead_of,
        }


def find_weights(model: str) -> Weights:
    """The weights that `target.model` stands for, without a network.

    Raises:
        ApmaeError: there is no such model.
    """
    source = resolve(model)
    if source.gguf_file:
        return Weights(source, (Path(source.location) / source.gguf_file,))
    names = {SAFETENSORS, ADAPTER}
    index = local_file(source.location, INDEX)
    if index is not None and local_file(source.location, SAFETENSORS) is None:
        names |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    found = (local_file(source.location, name) for name in sorted(names))
    return Weights(source, tuple(path for path in found if path is not None))


def sha256_of(path: Path) -> str:
    """A file's SHA-256, computed once per process as long as it does not change."""
    real = path.resolve()
    if real.parent.name == "blobs" and SHA256.fullmatch(real.name):
        return real.name  # the hub's cache names large files by it
    found = real.stat()
    return _sha256(real, found.st_mtime_ns, found.st_size)


@lru_cache
def _sha256(path: Path, _modified: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
