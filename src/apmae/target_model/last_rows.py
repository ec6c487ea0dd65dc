"""The last row of every head's pattern, in whatever pass the model makes, with a key-value cache too.

A generated token leaves little to compute in each layer, so that calls cost more than arithmetic. The layers
therefore only put their inputs down, and those alike are computed together behind the pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from apmae.target_model.log_probs import Attention, log_probs


@dataclass(frozen=True)
class LastRows:
    """What the last pass put down.

    Attributes:
        attentions: the last query's inputs by layer. A cache may overwrite them in the next pass.
    """

    attentions: dict[int, Attention] = field(default_factory=dict)

    def summarized(self, summarize: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """By layer, what a function of rows returns.

        Args:
            summarize: gets log probabilities (..., H, T) float32, -inf where masked, and keeps all leading
                dimensions.

        Returns:
            Tensors (B, H, ...).
        """
        alike: dict[Hashable, list[int]] = defaultdict(list)
        for layer, attention in self.attentions.items():
            alike[_kind(layer, attention)].append(layer)
        found: dict[int, Tensor] = {}
        for layers in alike.values():
            rows = log_probs(_together([self.attentions[layer] for layer in layers]))[:, :, 0]
            found.update(zip(layers, summarize(rows).chunk(len(layers)), strict=True))
        return [found[layer] for layer in sorted(found)]


def _kind(layer: int, attention: Attention) -> Hashable:
    """Equal for layers that can be computed together."""
    query, key, allowed, scaling, softcap, sinks, position_bias = attention
    if allowed is None and sinks is None and position_bias is None:
        return query.shape, key.shape, query.device, scaling, softcap
    return layer


def _together(attentions: list[Attention]) -> Attention:
    """One attention whose prompts are those of all layers, layer by layer."""
    if len(attentions) == 1:
        return attentions[0]
    return attentions[0]._replace(
        query=torch.cat([each.query for each in attentions]), key=torch.cat([each.key for each in attentions])
    )
