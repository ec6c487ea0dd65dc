"""Precision of the AP-MAE's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from apmae.common.devices import native_precision, warn_if_emulated


def autocasting(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[None]]:
    """A maker of autocast contexts: nothing for `float32`; `auto` is what the device is fast in."""
    chosen = native_precision(device) if precision == "auto" else precision
    if chosen == "float32":
        return nullcontext
    warn_if_emulated(device.type, "bfloat16")
    return lambda: torch.autocast(device.type, torch.bfloat16)
