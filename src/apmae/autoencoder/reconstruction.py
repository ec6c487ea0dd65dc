"""Reconstruction of masked patterns by AP-MAE, as pictures (paper figure 1) and in numbers.

Losses of encoders with different scalings lie in different spaces. `reconstruction_errors` decodes
predictions to log probabilities and measures them there, in the same way for every encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from apmae.autoencoder import APMAEConfig, APMAEModel, PatternTokens, tokens_of
from apmae.autoencoder.patterns import ABSOLUTE_FLOOR, patchify, scale, unpatchify, unscale

Image = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Reconstruction:
    """One pattern, masked and reconstructed.

    Attributes:
        layer, head, prompt_id: the pattern's head and prompt.
        loss: mean squared error over the masked patches.
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


class ReconstructionErrors(NamedTuple):
    """Errors of predicted masked patterns, (N,) float32 each.

    `log_error_nats` and `mass_error` are over the masked positions where attention is allowed, with all log
    probabilities clamped to [-16, 0]. So they mean the same for every scaling.
    """

    loss: Tensor
    """The model's own loss, in the space of its scaling, row tokens included."""
    log_error_nats: Tensor
    """Root mean square difference of log probabilities."""
    mass_error: Tensor
    """Absolute differences of probabilities, summed over the pattern and divided by its T queries: the
    misplaced attention per query."""
    uniform_log_error_nats: Tensor
    """`log_error_nats` of equal attention to all keys of a query."""
    uniform_mass_error: Tensor


def reconstruction_errors(
    model: APMAEModel, log_patches_NKP: Tensor, noise_NK: Tensor
) -> ReconstructionErrors:
    """Mask patterns, reconstruct them and compare.

    Args:
        log_patches_NKP: (N, K, P * P) float32, lower-triangle patches of log probabilities, -inf
            where not allowed.
        noise_NK: the patches with the largest noise are masked, see `apmae.autoencoder.tokens.mask_tokens`.
    """
    config = model.config
    with torch.inference_mode():
        output = model(tokens_of(scale(log_patches_NKP, config.scaling), config), noise_NK)
        predicted = patchify(output.reconstruction, config.patch_size)
        found = unscale(predicted, config.scaling, log_patches_NKP)
        true = log_patches_NKP.clamp(min=ABSOLUTE_FLOOR)
        masked = output.mask[:, : config.causal_patches, None] & log_patches_NKP.isfinite()
        uniform = _uniform_patches(config).to(true.device)
        return ReconstructionErrors(
            output.losses,
            *_differences(found, true, masked, config.pattern_size),
            *_differences(uniform, true, masked, config.pattern_size),
        )


def _differences(found: Tensor, true: Tensor, masked: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """`log_error_nats` and `mass_error` from log probabilities."""
    log_squares = ((found - true).square() * masked).sum((1, 2)) / masked.sum((1, 2))
    mass = ((found.exp() - true.exp()).abs() * masked).sum((1, 2)) / tokens
    return log_squares.sqrt(), mass


def _uniform_patches(config: APMAEConfig) -> Tensor:
    """Log probabilities of equal attention to all keys: (1, K, P * P)."""
    size = config.pattern_size
    log_probs = -torch.arange(1, size + 1).log()[:, None].expand(1, size, size)
    return patchify(log_probs, config.patch_size)


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
