"""Precision of the AP-MAE's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch


def autocasting(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[None]]:
    """A maker of autocast contexts: bfloat16 for `bf16`, nothing for `no`."""
    if precision == "no":
        return nullcontext
    return lambda: torch.autocast(device.type, torch.bfloat16)
