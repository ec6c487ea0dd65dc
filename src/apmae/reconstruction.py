"""What AP-MAE makes of masked patterns, for the eye (paper figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from apmae.model import APMAEModel, PatternTokens
from apmae.patterns import unpatchify
from apmae.seeding import numpy_generator, torch_generator
from apmae.study import Study
from apmae.target import Target

Image = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Reconstruction:
    """One pattern, masked and reconstructed.

    Attributes:
        layer, head, prompt_id: whose pattern it is.
        loss: mean squared error over what was masked.
        pattern: (T, T) float32, as scaled for the encoder.
        masked: the same with NaN where masked.
        reconstruction: the same with predictions where masked.
    """

    layer: int
    head: int
    prompt_id: int
    loss: float
    pattern: Image
    masked: Image
    reconstruction: Image


def reconstructions(study: Study, target: Target, model: APMAEModel) -> list[Reconstruction]:
    """Reconstruct patterns of seeded heads on seeded held-out prompts.

    Half of the patches are masked by seeded noise, as in training.
    """
    count = study.config.report.reconstructions
    generator = numpy_generator(study.config.seed, "reconstructions")
    prompts = study.study_prompts
    held_out = prompts.filter(prompts["split"] == "test")
    prompts = prompts if held_out.is_empty() else held_out
    rows = generator.choice(prompts.height, min(count, prompts.height), replace=False)
    chosen = generator.choice(len(target.heads), len(rows), replace=False)
    noise_generator = torch_generator(study.config.seed, "reconstructions", "noise")
    found = []
    for row, index in zip(rows.tolist(), chosen.tolist(), strict=True):
        layer, head = target.heads[index]
        ids = prompts["input_ids"][row].to_list()
        pattern = target.run([ids], [(layer, head)], model.config.scaling).patterns[:, 0]
        noise = torch.rand(1, model.config.causal_patches, generator=noise_generator)
        loss, images = reconstruct(model, model.tokenize(pattern), noise.to(pattern.device))
        found.append(Reconstruction(layer, head, prompts["prompt_id"][row], loss, *images[0]))
    return found


def reconstruct(model: APMAEModel, tokens: PatternTokens, noise_NK: Tensor) -> tuple[float, Image]:
    """Mask patterns and reconstruct them.

    Returns:
        The loss, and (N, 3, T, T) float32: every pattern as given, with NaN where masked, and with
        predictions where masked.
    """
    with torch.inference_mode():
        output = model(tokens, noise_NK)
    patches = tokens.patches.float()
    hidden = output.mask[:, : model.config.causal_patches, None]
    given, masked = (
        unpatchify(values, model.config.patch_size)
        for values in (patches, patches.masked_fill(hidden, torch.nan))
    )
    return float(output.loss), torch.stack([given, masked, output.reconstruction], 1).cpu().numpy()
