"""Precision of the AP-MAE's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from apmae.common.devices import native_precision, warn_if_emulated


def autocasting(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[None]]:
    """A factory of autocast contexts: none for `float32`; `auto` is the device's fast precision."""
    chosen = native_precision(device) if precision == "auto" else precision
    if chosen == "float32":
        return nullcontext
    warn_if_emulated(device.type, "bfloat16")
    return lambda: torch.autocast(device.type, torch.bfloat16)
