"""Recording a layer's input, the hidden state of the residual stream, during forward passes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def recording_layer_input(model: nn.Module, attention: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, within the block, the input of an attention module's layer at the last position.

    Yields:
        A list to which every forward pass adds a tensor, (B, D) float32.
    """
    recorded: list[Tensor] = []

    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        recorded.append(hidden[:, -1].float())

    handle = layer_of(model, attention).register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield recorded
    finally:
        handle.remove()


def layer_of(model: nn.Module, attention: nn.Module) -> nn.Module:
    """The numbered module that contains the attention, such as `model.layers.15`."""
    name = next(name for name, module in model.named_modules() if module is attention)
    found = re.match(r".*\.\d+(?=\.)", name)
    assert found is not None, "layers are in a list of modules"
    return model.get_submodule(found[0])
