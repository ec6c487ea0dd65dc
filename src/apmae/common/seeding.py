"""Seeds for every random draw, derived from the study's seed and a name.

A draw named by what it is for (stage, layer, head, file) is the same whatever ran before it and
on however many processes, which is what makes a killed and resumed study equal to an unkilled one.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, *name: str | int) -> int:
    """A 32-bit seed for the draw called `name` under the study's `seed`; stable across machines."""
    text = "\x1f".join([str(seed), *map(str, name)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def numpy_generator(seed: int, *name: str | int) -> np.random.Generator:
    """A NumPy generator for the draw called `name`."""
    return np.random.default_rng(derive_seed(seed, *name))


def torch_generator(seed: int, *name: str | int) -> torch.Generator:
    """A CPU torch generator for the draw called `name`."""
    return torch.Generator().manual_seed(derive_seed(seed, *name))
