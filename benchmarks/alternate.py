"""Ways to do the same thing, timed in alternating rounds, so that a busy machine disturbs all alike."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping

import torch


def fastest(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of every way: each the least over the rounds, after one to warm up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            taken[name].append(_time(way))
    return {name: tuple(map(min, zip(*values[1:], strict=True))) for name, values in taken.items()}


def print_table(
    seconds: Mapping[str, tuple[float, float]], patterns: Mapping[str, int], reference: str
) -> None:
    """A Markdown table of patterns per second and ratios to the reference."""
    each = {name: tuple(value / patterns[name] for value in values) for name, values in seconds.items()}
    print(f"{_device()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| way | patterns/s | speed against plain | the same in CPU time |")
    print("|---|---|---|---|")
    for name, (wall, cpu) in each.items():
        ratios = (whole / part for whole, part in zip(each[reference], (wall, cpu), strict=True))
        print(f"| {name} | {1 / wall:.1f} | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |")


def _time(way: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
