"""Published detectors of incorrect completions that look at attention patterns, as columns of every head.

A detector takes one layer's patterns, as lower-triangle patches of log probabilities, in the forward pass
that encodes them. What its paper does with the columns (principal components and logistic regression) is
what `apmae.prediction.linear` does with every block of heads.

Shape suffixes: B prompts, H heads, G patches per side, K lower-triangle patches, P patch side, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from apmae.autoencoder.patterns import grid_of
from apmae.vocabulary import Detector

TOP_EIGENVALUES = 10


def received_attention(log_patches_BHKP: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Attention that each position receives from all, and from itself: (B, H, T) each."""
    patches = log_patches_BHKP.exp().unflatten(-1, (patch_size, patch_size))  # type: ignore[no-untyped-call]
    grid = grid_of(patches.shape[2])
    rows, columns = torch.tril_indices(grid, grid, device=patches.device).unbind()
    received = patches.new_zeros(*patches.shape[:2], grid, patch_size)
    received.index_add_(2, columns, patches.sum(-2))
    from_itself = patches[:, :, rows == columns].diagonal(dim1=-2, dim2=-1)
    return received.flatten(-2), from_itself.flatten(-2)


def laplacian_eigenvalues(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """The ten largest eigenvalues of each head's Laplacian, descending: (B, H, 10) float32.

    LapEigvals (Binkowski et al. 2025, arXiv 2502.17598): attention is a graph's weighted adjacency matrix A,
    and D its diagonal matrix of mean attention received, `d_ii = sum_u a_ui / (T - i)` with i from 0.
    D - A is lower triangular, so its eigenvalues are its diagonal, `d_ii - a_ii`.
    """
    received, from_itself = received_attention(log_patches_BHKP, patch_size)
    queries = torch.arange(received.shape[-1], 0, -1, device=received.device)  # T - i attend to i
    return (received / queries - from_itself).topk(TOP_EIGENVALUES, dim=-1).values.float()


class Columns(NamedTuple):
    """What a detector makes of patterns, and how many columns that is."""

    make: Callable[[Tensor, int], Tensor]
    width: int


DETECTORS: Mapping[Detector, Columns] = {
    "laplacian_eigenvalues": Columns(laplacian_eigenvalues, TOP_EIGENVALUES)
}


def detect(
    log_patches_BHKP: Tensor, patch_size: int, detectors: Sequence[Detector], device: torch.device
) -> dict[str, Tensor]:
    """The columns of some detectors, by name: (B, H, width) float32 on `device`."""
    return {name: DETECTORS[name].make(log_patches_BHKP, patch_size).to(device) for name in detectors}
