"""How much attention each head pays to what a role is about.

Shape suffixes: B windows, T tokens, H heads of a layer, R roles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apmae.roles.relations import Mask, Relation
from apmae.target_model import Target


class RoleWeights(NamedTuple):
    """What turns a pattern into a role's score and its expectation: sums of attention times weight.

    Attributes:
        value: (T, T) float32: mean over queries of the attention to the role's keys.
        expected: (T, T) float32: the same where each query's attention to the candidates were uniform.
        queries: how many queries count.
    """

    role: str
    value: NDArray[np.float32]
    expected: NDArray[np.float32]
    queries: int


def role_weights(relation: Relation) -> RoleWeights | None:
    """The weights of a relation; None where no query has both a key and a candidate that is none."""
    candidates = relation.candidates | relation.keys
    n_keys, n_candidates = relation.keys.sum(1), candidates.sum(1)
    counts: Mask = (n_keys > 0) & (n_candidates > n_keys)
    queries = int(counts.sum())
    if not queries:
        return None
    per_query = np.where(counts, 1 / queries, 0)[:, None]
    fraction = (n_keys / n_candidates.clip(1))[:, None]
    value, expected = per_query * relation.keys, per_query * fraction * candidates
    return RoleWeights(relation.role, value.astype(np.float32), expected.astype(np.float32), queries)


def role_scores(
    target: Target, input_ids_BT: NDArray[np.int32], weights: Sequence[Sequence[RoleWeights]]
) -> list[NDArray[np.float32]]:
    """Run windows once, and score every head on the roles that each window has.

    Args:
        weights: of each window.

    Returns:
        For each window (roles, L * H, 2): value and expected value, in the order of its weights.
    """
    stacked = [
        torch.from_numpy(np.stack([part for role in roles for part in (role.value, role.expected)]))
        for roles in weights
    ]

    def reduce(_layer: int, log_probs_BHTT: Tensor) -> list[Tensor]:
        patterns = log_probs_BHTT.exp().flatten(2)
        return [
            (pattern @ parts.flatten(1).to(pattern).T).float().cpu()
            for pattern, parts in zip(patterns, stacked, strict=True)
        ]

    _, by_layer = target.capture(input_ids_BT, reduce)
    found = []
    for window, roles in enumerate(weights):
        values = torch.cat([by_layer[layer][window] for layer in range(target.n_layers)])
        found.append(values.view(len(values), len(roles), 2).transpose(0, 1).numpy())
    return found
