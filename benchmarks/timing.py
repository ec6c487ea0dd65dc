"""Ways to do the same thing, timed in alternating rounds, so that a busy machine disturbs all alike."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Mapping

import torch

from apmae.common.markdown import markdown_table


def parser_of(description: str | None, **integers: int) -> argparse.ArgumentParser:
    """A benchmark's command line: one option for every integer, with its default."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in integers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser


def timed(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of every way in each round, after one round to warm up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            taken[name].append(_time(way))
    return {name: values[1:] for name, values in taken.items()}


def fastest(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of every way: each the least over the rounds."""
    return {name: tuple(map(min, zip(*each, strict=True))) for name, each in timed(ways, rounds).items()}


def print_table(
    seconds: Mapping[str, tuple[float, float]],
    counts: Mapping[str, int],
    reference: str,
    unit: str = "patterns",
) -> None:
    """A Markdown table of patterns, or what `unit` names, per second and ratios to the reference."""
    each = {name: tuple(value / counts[name] for value in values) for name, values in seconds.items()}
    print(f"{machine()}\n")
    rows = (
        (
            name,
            f"{1 / wall:.1f}",
            *(f"{whole / part:.2f}" for whole, part in zip(each[reference], (wall, cpu), strict=True)),
        )
        for name, (wall, cpu) in each.items()
    )
    heading = ("way", f"{unit}/s", f"speed against {reference}", "the same in CPU time")
    print(markdown_table(heading, rows))


def machine() -> str:
    """The device, its threads and the version of PyTorch."""
    return f"{device_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def device_name() -> str:
    """The GPU's name, or the CPU's architecture without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


def _time(way: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu
