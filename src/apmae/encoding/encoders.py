"""A study's encoder, its untrained double, and the patterns that it sees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from apmae.autoencoder import APMAEModel
from apmae.common.seeding import derive_seed
from apmae.study import Study
from apmae.study.artifacts import ENCODER, token_ids
from apmae.target_model import Head, Target


def load_encoder(study: Study, device: torch.device) -> APMAEModel:
    """Load the study's trained AP-MAE, in eval mode."""
    model = APMAEModel.from_pretrained(study.path(ENCODER))
    model.to(device).eval()
    return model


def random_encoder(study: Study, model: APMAEModel) -> APMAEModel:
    """An AP-MAE like `model` with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(study.config.seed, "random encoder"))
        untrained = APMAEModel(model.config)
    untrained.to(model.device).eval()
    return untrained


def pattern_source(study: Study, target: Target) -> Callable[[int, list[Head]], np.ndarray]:
    """Re-make scaled patterns from the prompts: (prompt_id, heads) -> (heads, T, T) float16."""
    input_ids = token_ids(study.study_prompts)
    scaling = load_encoder(study, target.device).config.scaling

    def patterns_of(prompt_id: int, heads: list[Head]) -> np.ndarray:
        output = target.run(input_ids[[prompt_id]], heads, scaling)
        return output.patterns[0].half().cpu().numpy()

    return patterns_of
