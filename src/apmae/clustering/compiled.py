"""Imports of packages that numba compiles and keeps on disk."""

from __future__ import annotations

import tempfile
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any


def import_compiled(name: str) -> ModuleType:
    """Import a package; its code is kept for this process alone where its directory and home are read-only.

    Numba fails at the import otherwise, as in a container whose file system is read-only.
    """
    try:
        return import_module(name)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        config: Any = import_module("numba.core.config")
        config.CACHE_DIR = _own_directory().name
        return import_module(name)


@cache
def _own_directory() -> tempfile.TemporaryDirectory[str]:
    """A directory that nobody else can write, since numba runs what it finds there; gone with the process."""
    return tempfile.TemporaryDirectory(prefix="apmae-numba-")
