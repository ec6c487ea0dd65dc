"""Running a model from one of its layers on, or without its layers.

The layer's input is recorded and fed again, and the earlier layers are skipped. Everything else, including
masks and positions, is computed as in a whole pass. While a model is restarted, no other thread may run it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class LayerInputs:
    """Inputs of some layers in one pass.

    Attributes:
        hidden: (B, T, D) by layer.
        rest: the values that a layer returned beside its hidden state, or None if it returned no others.
    """

    hidden: dict[int, Tensor] = field(default_factory=dict)
    rest: dict[int, tuple[Any, ...] | None] = field(default_factory=dict)


@contextmanager
def recording(layers: Sequence[nn.Module], wanted: set[int]) -> Iterator[LayerInputs]:
    """Record the inputs of the wanted layers in the pass within the block."""
    inputs = LayerInputs()

    def before(number: int, _module: nn.Module, args: Any, kwargs: Any) -> None:
        inputs.hidden[number] = args[0] if args else kwargs["hidden_states"]

    def after(number: int, _module: nn.Module, _args: Any, output: Any) -> None:
        inputs.rest[number] = None if isinstance(output, Tensor) else tuple(output[1:])

    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            hooks.callback(layer.register_forward_hook(partial(after, number)).remove)
            if number in wanted:
                handle = layer.register_forward_pre_hook(partial(before, number), with_kwargs=True)
                hooks.callback(handle.remove)
        yield inputs


@contextmanager
def restarted(
    layers: Sequence[nn.Module], start: int, hidden_BTD: Tensor, rest: dict[int, tuple[Any, ...] | None]
) -> Iterator[None]:
    """Within the block, a pass starts at layer `start` with input `hidden_BTD`."""

    def enter(_module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if args:
            return (hidden_BTD, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden_BTD}

    with ExitStack() as changes:
        for number, layer in enumerate(layers[:start]):
            changes.enter_context(_forward_replaced(layer, partial(_pass_on, rest[number])))
        handle = layers[start].register_forward_pre_hook(enter, with_kwargs=True)
        changes.callback(handle.remove)
        yield


@contextmanager
def without_layers(
    layers: Sequence[nn.Module], hidden_BTD: Tensor, rest: Mapping[int, tuple[Any, ...] | None]
) -> Iterator[None]:
    """Within the block no layer computes anything, and the last one returns `hidden_BTD`."""
    with ExitStack() as changes:
        for number, layer in enumerate(layers):
            beside = rest[number]
            output = hidden_BTD if beside is None else (hidden_BTD, *beside)
            changes.enter_context(_forward_replaced(layer, partial(_return, output)))
        yield


def _return(output: Any, *_args: Any, **_kwargs: Any) -> Any:
    return output


def _pass_on(rest: tuple[Any, ...] | None, *args: Any, **kwargs: Any) -> Any:
    hidden = args[0] if args else kwargs["hidden_states"]
    return hidden if rest is None else (hidden, *rest)


@contextmanager
def _forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    own = module.__dict__.get("forward")  # Accelerate, for one, puts it there
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
