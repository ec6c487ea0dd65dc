"""Devices: which one computes, and in which precision it computes fast.

Many processors have no bfloat16 arithmetic. There PyTorch emulates it, and a matrix product takes tens of
times as long as in float32. So `auto` stands for bfloat16 where the device multiplies it at least as fast
as float32, and for float32 elsewhere. CUDA devices say so themselves; the others are tried for a few
milliseconds. A processor's name is never asked.
"""

from __future__ import annotations

import time
import warnings
from functools import cache
from typing import Literal

import torch

from apmae.common.errors import ApmaeError, ApmaeWarning

NativePrecision = Literal["float32", "bfloat16", "float16"]

PROBE_SIDE = 256
PROBE_ROUNDS = 5


def torch_device(name: str) -> torch.device:
    """The device that `target.device` names; `auto` and `balanced` stand for an accelerator if there is one.

    Raises:
        ApmaeError: there is no such device.
    """
    if name in ("auto", "balanced"):
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ApmaeError(f"target.device {name!r}: {str(error).splitlines()[0]}") from None


def native_precision(device: torch.device) -> NativePrecision:
    """`bfloat16` where the device has arithmetic for it, else `float32`."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if product_cost(device.type, "bfloat16") <= 1 else "float32"


@cache
def product_cost(device_type: str, precision: NativePrecision) -> float:
    """How long a matrix product in a precision takes, in float32 products of the same size."""
    device = torch.device(device_type)
    operands = {
        name: torch.ones(PROBE_SIDE, PROBE_SIDE, dtype=getattr(torch, name), device=device)
        for name in ("float32", precision)
    }
    seconds = {name: float("inf") for name in operands}
    for _ in range(PROBE_ROUNDS):  # the fastest of alternating rounds: another process may disturb some
        for name, operand in operands.items():
            seconds[name] = min(seconds[name], _product_seconds(operand))
    return seconds[precision] / seconds["float32"]


@cache
def warn_if_emulated(device_type: str, precision: NativePrecision) -> None:
    """Say once what an asked-for precision costs where the device has no arithmetic for it."""
    if device_type == "cuda" or precision == "float32":
        return
    cost = product_cost(device_type, precision)
    if cost > 2:
        warnings.warn(
            f"{precision} is emulated on this device: a matrix product takes {cost:.0f} times as long as in "
            "float32; `auto` chooses what is fast",
            ApmaeWarning,
            stacklevel=2,
        )


def _product_seconds(operand: torch.Tensor) -> float:
    started = time.perf_counter()
    product = operand @ operand
    if product.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
