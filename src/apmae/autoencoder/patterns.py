"""Attention patterns as images: scaling, patches and row statistics. Pure tensor functions.

A head's pattern starts as `log_probs`, the log-softmax of its attention scores, -inf where masked. From it
follow (paper section 4, "Architecture"):

1. `scale`: values in [0, 1], 0 where masked;
2. `patchify`: the lower-triangle patches, in row-major order of the patch grid;
3. `row_statistics`: seven numbers on the attention of the predicting position (the last row).

Shape suffixes: N patterns (any leading axes), T tokens, G = T / P patches per side, P patch side,
K = G (G + 1) / 2 lower-triangle patches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from apmae.vocabulary import Scaling

ABSOLUTE_FLOOR = -16.0
"""Log probability that `absolute` scaling maps to 0; exp(-16) is 1e-7."""

ROW_STATISTICS = (
    "entropy",
    "mass_first",
    "mass_last_1",
    "mass_last_8",
    "mass_last_32",
    "largest",
    "second_largest",
)
"""Names along the last axis of `row_statistics`."""


def log_softmax_masked(scores_TT: Tensor, allowed_TT: Tensor | None = None) -> Tensor:
    """Log-softmax over the last axis, -inf where masked.

    It is taken from the scores, since the logarithm of a softmax may underflow. A row of only masked keys
    (padding) is -inf throughout.

    Args:
        scores_TT: (..., Q, T) float32 attention scores; overwritten with -inf where not allowed.
        allowed_TT: bool, broadcastable to scores; None for causality, with the last query at the last key.
    """
    if allowed_TT is None:
        queries = scores_TT.shape[-2]
        above_diagonal = torch.full((queries, queries), -torch.inf, device=scores_TT.device).triu(1)
        scores_TT[..., -queries:] += above_diagonal
        return scores_TT.log_softmax(-1)
    log_probs = scores_TT.masked_fill_(~allowed_TT, -torch.inf).log_softmax(-1)
    empty_rows = ~allowed_TT.any(-1, keepdim=True)
    return log_probs.masked_fill_(empty_rows, -torch.inf) if empty_rows.any() else log_probs


def scale(log_probs_TT: Tensor, scaling: Scaling) -> Tensor:
    """Map log probabilities to [0, 1]; 0 where masked.

    `min_normalized` is the paper's `(x - min) / (0 - min)` per pattern over the allowed positions; a pattern
    of equal values becomes one where allowed. `absolute` is `1 + max(x, -16) / 16`, the same for every
    pattern, so it keeps the size of the attention. `probability` is `exp(x)`.

    Args:
        log_probs_TT: (..., T, T) or lower-triangle patches (..., K, P * P); float32, -inf where not
            allowed.

    Returns:
        The same shape, float32.
    """
    if scaling == "probability":
        return log_probs_TT.exp()
    # Masked places are -inf, so the clamp sets them to 0.
    if scaling == "absolute":
        return torch.add(1, log_probs_TT.clamp(min=ABSOLUTE_FLOOR), alpha=-1 / ABSOLUTE_FLOOR)
    return (log_probs_TT / -_lowest(log_probs_TT)).add_(1).clamp_(min=0)


def unscale(values_TT: Tensor, scaling: Scaling, log_probs_TT: Tensor) -> Tensor:
    """Map scaled values back to log probabilities in [`ABSOLUTE_FLOOR`, 0].

    Args:
        values_TT: the output of `scale`, or a prediction of it: (..., T, T) or (..., K, P * P).
        log_probs_TT: the input of `scale`, of the same shape. It gives the smallest log probability of
            each pattern, which `min_normalized` values do not contain.
    """
    if scaling == "probability":
        log_probs = values_TT.clamp(min=0).log()
    elif scaling == "absolute":
        log_probs = (values_TT - 1) * -ABSOLUTE_FLOOR
    else:
        log_probs = (values_TT - 1) * -_lowest(log_probs_TT)
    return log_probs.clamp(ABSOLUTE_FLOOR, 0)


def causal_patch_count(grid: int) -> int:
    """K: number of lower-triangle patches, with the diagonal, in a grid x grid."""
    return grid * (grid + 1) // 2


def causal_patch_indices(grid: int, device: torch.device | None = None) -> Tensor:
    """(K,) int64: indices of the lower triangle, with its diagonal, in a flat grid x grid of patches."""
    rows, columns = torch.tril_indices(grid, grid, device=device).unbind()
    return rows * grid + columns


def patchify(patterns_NTT: Tensor, patch_size: int, *, causal: bool = True) -> Tensor:
    """Cut patterns into patches, row-major within the grid and within a patch.

    Args:
        patterns_NTT: (..., T, T); T is a multiple of `patch_size`.
        causal: keep only the K lower-triangle patches, else all G * G.

    Returns:
        (..., K or G * G, P * P).

    Raises:
        ValueError: the pattern is not square or `patch_size` does not divide T.
    """
    *lead, height, width = patterns_NTT.shape
    if height != width or height % patch_size:
        raise ValueError(f"a {height} x {width} pattern has no whole patches of side {patch_size}")
    grid = height // patch_size
    cells = patterns_NTT.reshape(*lead, grid, patch_size, grid, patch_size).transpose(-3, -2)
    patches = cells.reshape(*lead, grid * grid, patch_size * patch_size)
    if not causal:
        return patches
    return patches[..., causal_patch_indices(grid, patches.device), :]


def unpatchify(patches_NKP: Tensor, patch_size: int, *, causal: bool = True) -> Tensor:
    """Invert `patchify`. If `causal`, patches above the diagonal are 0.

    Args:
        patches_NKP: (..., K or G * G, P * P).

    Returns:
        (..., T, T).
    """
    *lead, count, area = patches_NKP.shape
    if causal:
        grid = grid_of(count)
        full = patches_NKP.new_zeros(*lead, grid * grid, area)
        full[..., causal_patch_indices(grid, full.device), :] = patches_NKP
    else:
        grid, full = int(count**0.5), patches_NKP
    cells = full.reshape(*lead, grid, grid, patch_size, patch_size).transpose(-3, -2)
    return cells.reshape(*lead, grid * patch_size, grid * patch_size)


def last_row_tokens(patches_NKP: Tensor, patch_size: int) -> Tensor:
    """The predicting position's row, cut into G tokens of `patch_size` values: (..., G, P).

    Args:
        patches_NKP: (..., K, P * P), the lower-triangle patches; the last G of them end in that row.
    """
    grid = grid_of(patches_NKP.shape[-2])
    return patches_NKP[..., -grid:, -patch_size:]


def row_statistics(log_row_T: Tensor) -> Tensor:
    """Summarise a row of attention by the seven numbers of `ROW_STATISTICS`.

    Entropy is in nats; masses and weights are probabilities.

    Args:
        log_row_T: (..., T) float32, -inf where not allowed: the predicting position's row.

    Returns:
        (..., 7) float32.
    """
    row = log_row_T.exp()
    entropy = -(row * log_row_T.masked_fill(row == 0, 0)).sum(-1)
    largest = row.topk(2, dim=-1).values
    return torch.stack(
        [
            entropy,
            row[..., 0],
            row[..., -1],
            row[..., -8:].sum(-1),
            row[..., -32:].sum(-1),
            largest[..., 0],
            largest[..., 1],
        ],
        dim=-1,
    )


def row_statistics_of_band(log_probs_QT: Tensor, first_row: int) -> Tensor:
    """`row_statistics` of consecutive rows, each up to its own last key.

    Args:
        log_probs_QT: (..., Q, T) float32, -inf where not allowed: rows `first_row` to `first_row + Q - 1`
            of a pattern.
        first_row: number of keys before the last key of the first row.

    Returns:
        (..., Q, 7) float32.
    """
    rows, keys = log_probs_QT.shape[-2:]
    probabilities = log_probs_QT.exp()
    terms = log_probs_QT.clamp(min=torch.finfo(log_probs_QT.dtype).min).mul_(probabilities)  # 0 where masked
    recent = slice(max(0, first_row - 31), keys)
    last_QT = torch.arange(first_row, first_row + rows)[:, None]
    distance_QT = (last_QT - torch.arange(keys)[recent]).to(probabilities.device)
    near = [
        (probabilities[..., recent] * ((distance_QT >= 0) & (distance_QT < count))).sum(-1)
        for count in (1, 8, 32)
    ]
    first = probabilities[..., 0].clone()
    largest, place = probabilities.max(-1, keepdim=True)
    second = probabilities.scatter_(-1, place, 0).amax(-1)
    return torch.stack([-terms.sum(-1), first, *near, largest[..., 0], second], dim=-1)


def _lowest(log_probs_TT: Tensor) -> Tensor:
    """The smallest allowed value of every pattern; -1 if every value is 0."""
    lowest = log_probs_TT.nan_to_num(neginf=0).amin((-2, -1), keepdim=True)
    return lowest.where(lowest < 0, -1.0)


def grid_of(causal_patches: int) -> int:
    """G from K = G (G + 1) / 2."""
    return int(((8 * causal_patches + 1) ** 0.5 - 1) / 2)
