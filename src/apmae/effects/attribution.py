"""Attribution: the effect of ablating each head, estimated from gradients by the heads' factors.

Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) add up the gradient along a path from the
whole model to the ablated one. The path that scales down one head alone gives the head's effect, but needs
passes of its own for every head. The path that scales down all heads together needs few, but measures heads
in a model that no longer works. Here every prompt parts the heads at random, and each part is scaled down
while the others stay. docs/effects.md compares the three.
"""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from apmae.common.seeding import numpy_generator
from apmae.intervention.greedy import GRADIENT_BATCH
from apmae.target_model import Completions, Target


def attributed_effects(
    target: Target, prompts: pl.DataFrame, partitions: int, points: int, seed: int
) -> Tensor:
    """Estimated effect of zero-ablating each head on the log probability of the true tokens.

    Args:
        prompts: `prompt_id`, `input_ids` of one length, `true_ids`.
        partitions: parts of the heads; a gradient is taken for each and each point.
        points: midpoints of as many equal steps from full to none.
        seed: a prompt's parts depend on it and on `prompt_id` alone.

    Returns:
        (prompts, L, H) float32, nats.
    """
    effects = torch.zeros(prompts.height, target.n_layers, target.n_heads)
    done = 0
    for some in prompts.iter_slices(GRADIENT_BATCH):
        completions = Completions.of_table(some)
        part_BLH = torch.stack([_parts(target, partitions, seed, number) for number in some["prompt_id"]])
        for part in range(partitions):
            scaled_BLH = part_BLH == part
            for point in range(points):
                factors = torch.where(scaled_BLH, (point + 0.5) / points, 1.0)
                gradients = target.factor_gradients(completions, factors)
                effects[done : done + some.height] -= torch.where(scaled_BLH, gradients, 0) / points
        done += some.height
    return effects


def _parts(target: Target, partitions: int, seed: int, prompt_id: int) -> Tensor:
    """(L, H): the part that each head is in; parts are as equal as can be."""
    order = numpy_generator(seed, "effects", "parts", prompt_id).permutation(len(target.heads))
    return torch.from_numpy(order % partitions).view(target.n_layers, target.n_heads)
