"""An intervention on a plain Hugging Face model: for a while, with hooks, or for good, in its weights.

Hooks change what enters the output projections, so that they go with every attention implementation,
with `generate` and a key-value cache: the cache holds keys and values, which come before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from apmae.common.errors import ApmaeError
from apmae.intervention.intervention import Intervention
from apmae.target_model.projections import OutputProjection, output_projections


@contextmanager
def apply(model: PreTrainedModel, intervention: Intervention) -> Iterator[None]:
    """Run a causal language model, `generate` included, under an intervention within the block.

    In nested blocks the outer one comes first. A process's threads share the hooks.

    Raises:
        ApmaeError: the model lacks some of the heads, or its output projections are not known.
    """
    projections = output_projections(model)
    factors_LH, offsets = _by_layer(projections, intervention)
    with ExitStack() as hooks:
        for layer in sorted({layer for layer, _ in intervention.heads}):
            change = _change(factors_LH[layer], offsets.get(layer))
            hooks.callback(projections[layer].module.register_forward_pre_hook(change).remove)
        yield


def write_into_weights(model: PreTrainedModel, intervention: Intervention) -> None:
    """Change a model's weights so that it computes what it would under the intervention.

    The output projections' columns of the heads are multiplied by the factor; means are folded into
    the biases.

    Raises:
        ApmaeError: the model lacks some of the heads, its output projections are not known or not plain
            numbers, it has an adapter, or means have no bias to go into.
    """
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ApmaeError(
            f"{model.config.model_type} with an adapter: a checkpoint would hold the adapter alone; merge it "
            "into the model first"
        )
    projections = output_projections(model)
    weights = [projection.module.weight.data for projection in projections]
    if any(type(weight) is not Tensor or not weight.is_floating_point() for weight in weights):
        raise ApmaeError(
            f"{model.config.model_type}: its output projections are quantised, and quantised weights cannot "
            "hold an intervention: use apmae.apply, or load it in bfloat16"
        )
    factors_LH, offsets = _by_layer(projections, intervention)
    if any(projections[layer].module.bias is None for layer in offsets):
        raise ApmaeError(
            f"{model.config.model_type}: its output projections have no bias to fold means into: "
            "use apmae.apply, or an intervention that zeroes or scales"
        )
    with torch.no_grad():
        for layer in sorted({layer for layer, _ in intervention.heads}):
            projection = projections[layer]
            if layer in offsets:
                offset = offsets[layer].to(projection.columns.device)
                added = torch.einsum("ohd,hd->o", projection.columns.float(), offset)
                projection.module.bias.add_(added.to(projection.module.bias.dtype))
            projection.columns.mul_(factors_LH[layer][:, None].to(projection.columns))


def _by_layer(
    projections: list[OutputProjection], intervention: Intervention
) -> tuple[Tensor, dict[int, Tensor]]:
    """Factors (L, H), and by layer what is added to the heads' outputs, (H, D) float32, if anything."""
    n_heads = projections[0].n_heads
    factors_LH = intervention.factors(len(projections), n_heads)
    offsets: dict[int, Tensor] = {}
    if intervention.operation.uses_means:
        if intervention.means is None:
            raise ApmaeError("the intervention has no means: load a saved one, or give it the heads' means")
        for (layer, head), mean in zip(intervention.heads, intervention.means, strict=True):
            size = projections[layer].columns.shape[-1]
            if mean.shape != (size,):
                raise ApmaeError(
                    f"the intervention's means have {len(mean)} channels, the model's heads {size}"
                )
            offsets.setdefault(layer, torch.zeros(n_heads, size))[head] = mean
    return factors_LH, offsets


def _change(factors_H: Tensor, offset_HD: Tensor | None) -> Any:
    def change(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        output = args[0].unflatten(-1, (len(factors_H), -1)) * factors_H[:, None].to(args[0])
        if offset_HD is not None:
            output = output + offset_HD.to(output)
        return (output.flatten(-2), *args[1:])

    return change
