"""Experiment trackers, through Accelerate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from apmae.common.errors import ApmaeError
from apmae.training.samples import Picture

TRACKING = "tracking"
PICTURE = "reconstructions"


def require_tracker(name: str) -> None:
    """Raise ApmaeError, in one line, if a tracker's package is not installed."""
    if name != "none" and name not in map(str, get_available_trackers()):
        raise ApmaeError(
            f'training.tracker: {name} is not installed; install it with `pip install "apmae[{name}]"`'
        )


def start_tracker(
    accelerator: Accelerator, study: str, directory: Path, config: dict[str, Any], step: int
) -> None:
    """Start a run, or resume it after `step` steps."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "tensorboard": {"purge_step": step + 1},
        "wandb": {"name": study, "dir": str(directory)},
        "trackio": {"name": study, "resume": "allow"},
    }
    accelerator.init_trackers("apmae", config=config, init_kwargs=options)


def track_picture(accelerator: Accelerator, picture: Picture, step: int) -> None:
    """Hand a picture to the tracker."""
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.log_images({PICTURE: picture[None]}, step=step, dataformats="NHWC")
        elif tracker.name == "wandb":
            tracker.log_images({PICTURE: [picture]}, step=step)
        elif tracker.name == "trackio":
            import trackio

            tracker.log({PICTURE: trackio.Image(picture)}, step=step)


def finish_tracker(accelerator: Accelerator) -> None:
    """End the run. Accelerate's `end_training` would disconnect the processes as well."""
    for tracker in accelerator.trackers:
        tracker.finish()
