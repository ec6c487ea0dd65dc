"""What AP-MAE makes of masked patterns, for the eye (paper figure 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from apmae.model import APMAEModel
from apmae.patterns import patchify, unpatchify
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
    noise = torch_generator(study.config.seed, "reconstructions", "noise")
    found = []
    for row, index in zip(rows.tolist(), chosen.tolist(), strict=True):
        layer, head = target.heads[index]
        ids = prompts["input_ids"][row].to_list()
        pattern = target.run([ids], [(layer, head)], model.config.scaling).patterns[:, 0]
        found.append(_reconstruct(model, pattern, noise, layer, head, prompts["prompt_id"][row]))
    return found


def _reconstruct(
    model: APMAEModel,
    pattern_1TT: torch.Tensor,
    generator: torch.Generator,
    layer: int,
    head: int,
    prompt_id: int,
) -> Reconstruction:
    noise = torch.rand(1, model.config.causal_patches, generator=generator).to(pattern_1TT.device)
    with torch.inference_mode():
        output = model(pattern_1TT, noise)
    patches = patchify(pattern_1TT, model.config.patch_size)
    hidden = output.mask[:, : model.config.causal_patches, None]
    masked = unpatchify(patches.masked_fill(hidden, torch.nan), model.config.patch_size)
    return Reconstruction(
        layer=layer,
        head=head,
        prompt_id=prompt_id,
        loss=float(output.loss),
        pattern=_image(pattern_1TT),
        masked=_image(masked),
        reconstruction=_image(output.reconstruction),
    )


def _image(pattern_1TT: torch.Tensor) -> Image:
    image: Image = pattern_1TT[0].float().cpu().numpy()
    return image
