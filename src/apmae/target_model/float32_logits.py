"""Logits in float32, whatever the precision of the weights.

bfloat16 has 8 significant bits, so the largest logits of two tokens often round to the same number, and the
tie decides which token is predicted. The output projection is therefore repeated in float32. It is a small
part of a pass, as few positions need logits.
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


@contextmanager
def float32_logits(model: PreTrainedModel) -> Iterator[None]:
    """Within the block the output projection gives float32; the model's own caps and scales come after it."""
    projection = model.get_output_embeddings()
    if not (isinstance(projection, nn.Linear) and projection.weight.dtype in (torch.bfloat16, torch.float16)):
        yield
        return
    handle = projection.register_forward_hook(_in_float32)
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
