"""Several processes on one study, as `accelerate launch` and `torchrun` start them.

They share the work of some stages; the first process alone writes what all of them share.
"""

from __future__ import annotations

import os
from datetime import timedelta

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others, whose shares of the prompts end at other times."""


def world_size() -> int:
    """How many processes were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes what all of them share."""
    return rank() == 0


def join(device: str) -> None:
    """Connect the processes, each with its own device of the kind that `device` names."""
    if world_size() == 1:
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=device == "cpu" or not torch.accelerator.is_available(), timeout=PATIENCE)


def barrier() -> None:
    """Go on when every process is here."""
    if world_size() == 1:
        return
    from accelerate import PartialState

    PartialState().wait_for_everyone()
