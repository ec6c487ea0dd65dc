"""The residual stream and what attention adds to it, recorded during forward passes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


@contextmanager
def recording_residual_stream(
    layers: Sequence[nn.Module], depths: Collection[int], positions: int | slice = -1
) -> Iterator[dict[int, list[Tensor]]]:
    """Collect, within the block, the residual stream behind some numbers of layers.

    Args:
        layers: the model's, in order.
        depths: how many layers the stream has passed: 0 is what enters the first one, `len(layers)` what
            the last one returns, which no final norm has changed.
        positions: one or several, the last by default.

    Yields:
        By depth, a list to which every forward pass adds a tensor, (B, D) or (B, positions, D) float32.
    """
    recorded: dict[int, list[Tensor]] = {depth: [] for depth in depths}

    def record(depth: int, hidden_BTD: Tensor) -> None:
        recorded[depth].append(hidden_BTD[:, positions].float())

    def before(depth: int, _module: nn.Module, args: Any, kwargs: Any) -> None:
        record(depth, args[0] if args else kwargs["hidden_states"])

    def after(depth: int, _module: nn.Module, _args: Any, output: Any) -> None:
        record(depth, output if isinstance(output, Tensor) else output[0])

    with ExitStack() as hooks:
        for depth in recorded:
            if depth < len(layers):
                handle = layers[depth].register_forward_pre_hook(partial(before, depth), with_kwargs=True)
            else:
                handle = layers[-1].register_forward_hook(partial(after, depth))
            hooks.callback(handle.remove)
        yield recorded


@contextmanager
def recording_outputs(modules: Sequence[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """Collect, within the block, what modules return at the last position.

    Yields:
        For each module, a list to which every forward pass adds a tensor, (B, D) float32.
    """
    recorded: list[list[Tensor]] = [[] for _ in modules]

    def after(number: int, _module: nn.Module, _args: Any, output_BTD: Tensor) -> None:
        recorded[number].append(output_BTD[:, -1].float())

    with ExitStack() as hooks:
        for number, module in enumerate(modules):
            hooks.callback(module.register_forward_hook(partial(after, number)).remove)
        yield recorded


def layer_of(model: nn.Module, attention: nn.Module) -> nn.Module:
    """The numbered module that contains the attention, such as `model.layers.15`."""
    name = next(name for name, module in model.named_modules() if module is attention)
    found = re.match(r".*\.\d+(?=\.)", name)
    assert found is not None, "layers are in a list of modules"
    return model.get_submodule(found[0])
