"""Logits in float32, whatever the precision of the weights.

bfloat16 has 8 significant bits, so the largest logits of two tokens often round to the same number, and the
tie decides which token is predicted. The output projection is therefore repeated in float32. It is a small
part of a pass where few positions need logits. Where all do, or where a cache leaves little else to compute,
only the largest logits are repeated: the prediction and the log probabilities of the likeliest tokens are
float32 then, and only the sum over all other tokens has the rounding of the weights' precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

VOCABULARY_ROWS = 16_384
"""Rows of the projection that are converted at a time; bounds the memory."""

GATHERED_VALUES = 1 << 20
"""Weights that are gathered at a time for the largest logits; bounds the memory."""

LARGEST = 64
"""Logits of a position that are repeated where not all are: three times as many as any feature reads."""


@contextmanager
def float32_logits(model: PreTrainedModel, *, largest_only: bool = False) -> Iterator[None]:
    """Within the block the output projection gives float32; the model's own caps and scales come after it.

    Args:
        largest_only: repeat a position's `LARGEST` logits in float32; the others are rounded.
    """
    projection = model.get_output_embeddings()
    if not (isinstance(projection, nn.Linear) and projection.weight.dtype in (torch.bfloat16, torch.float16)):
        yield
        return
    handle = projection.register_forward_hook(_largest_in_float32 if largest_only else _in_float32)
    try:
        yield
    finally:
        handle.remove()


def _in_float32(projection: nn.Module, args: tuple[Any, ...], _output: Tensor) -> Tensor:
    assert isinstance(projection, nn.Linear)
    hidden = args[0].to(projection.weight.device).float()
    pieces = torch.split(projection.weight, VOCABULARY_ROWS)
    logits = torch.cat([functional.linear(hidden, rows.float()) for rows in pieces], dim=-1)
    return logits if projection.bias is None else logits + projection.bias.float()


def _largest_in_float32(projection: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    assert isinstance(projection, nn.Linear)
    logits = output.float()
    hidden = args[0].to(projection.weight.device).flatten(0, -2)
    size = max(1, GATHERED_VALUES // (LARGEST * hidden.shape[1]))
    for rows, vectors in zip(
        torch.split(logits.flatten(0, -2), size), torch.split(hidden, size), strict=True
    ):
        largest = rows.topk(min(LARGEST, rows.shape[1]), sorted=False).indices
        products = (projection.weight[largest].float() @ vectors.float()[..., None])[..., 0]
        if projection.bias is not None:
            products += projection.bias[largest]
        rows.scatter_(1, largest, products)
    return logits
