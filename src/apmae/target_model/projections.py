"""The output projections of a model's attention. They mix the heads' outputs into the residual stream."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from apmae.common.errors import ApmaeError

NAME = re.compile(
    r"\.(attn|attention|self_attn|self_attention)\.(attention\.)?(o_proj|out_proj|c_proj|dense)$"
)
"""Their names in Transformers, for all families of docs/targets.md."""


@dataclass(frozen=True)
class OutputProjection:
    """One layer's output projection. Its input is the outputs of `n_heads` heads side by side."""

    module: nn.Linear | Conv1D
    n_heads: int

    @property
    def columns(self) -> Tensor:
        """A view of the weight, (outputs, H, D)."""
        weight = self.module.weight.T if isinstance(self.module, Conv1D) else self.module.weight
        columns: Tensor = weight.unflatten(1, (self.n_heads, -1))
        return columns


def output_projections(model: PreTrainedModel) -> list[OutputProjection]:
    """The output projection of every layer, in order.

    Raises:
        ApmaeError: a layer does not have exactly one projection with a known name.
    """
    config = model.config.get_text_config()
    n_heads = config.num_attention_heads
    found = [
        OutputProjection(module, n_heads)
        for name, module in model.named_modules()
        if NAME.search(f".{name}") and isinstance(module, nn.Linear | Conv1D)
    ]
    if len(found) != config.num_hidden_layers:
        raise ApmaeError(
            f"{config.model_type}: the output projections of {len(found)} of its "
            f"{config.num_hidden_layers} layers are known, and all of them are needed"
        )
    return found
