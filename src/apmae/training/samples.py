"""Pictures of held-out patterns, masked and reconstructed, during the AP-MAE's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.image import imsave
from torch import Tensor

from apmae.autoencoder import APMAEModel, PatternTokens
from apmae.autoencoder.reconstruction import reconstruct
from apmae.common.atomic import replacing
from apmae.training.batches import take

SAMPLES = "samples"
COUNT = 4
GAP_PIXELS = 4

Picture = np.ndarray[Any, np.dtype[np.uint8]]


def draw_samples(model: APMAEModel, tokens: PatternTokens, noise_NK: Tensor) -> Picture:
    """Draw patterns from all depths of the target, one per row: original, masked, reconstructed.

    Args:
        tokens: N patterns in the order of their layers.

    Returns:
        (height, width, 3) uint8.
    """
    chosen = torch.linspace(0, len(noise_NK) - 1, min(COUNT, len(noise_NK))).long().to(noise_NK.device)
    _, images = reconstruct(model, take(tokens, chosen), noise_NK[chosen])
    coloured = colormaps["viridis"].with_extremes(bad="lightgrey")(images)[..., :3]
    framed = np.pad(coloured, ((0, 0), (0, 0), (0, GAP_PIXELS), (0, GAP_PIXELS), (0, 0)), constant_values=1)
    rows, columns, height, width, _ = framed.shape
    picture = framed.swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return (picture * 255).round().astype(np.uint8)


def save_picture(picture: Picture, directory: Path, step: int) -> None:
    """Write the picture of a step as PNG."""
    with replacing(directory / f"step-{step:07d}.png") as path:
        imsave(path, picture)
