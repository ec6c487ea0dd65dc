"""Capturing patterns: which heads, whole, in patches or in bands of rows, and what to keep of them.

Shape suffixes: B prompts, S captured heads, T tokens, P patch side, K lower-triangle patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from apmae.autoencoder.patterns import causal_patch_count
from apmae.common.errors import ApmaeError
from apmae.target_model.log_probs import Band

Reduce = Callable[[int, Tensor], Any]
"""Called with (layer, log probabilities), float32 and -inf where masked; returns the value to keep.

The log probabilities are (B, S, T, T), or with a patch size P (b, S, K, P * P). Patches come for a few
prompts at a time, in order, in memory that is overwritten after the call.
"""

ReduceBand = Callable[[int, Band], Any]
"""Called with (layer, band) for every band of rows as it is computed; returns the value to keep."""

Keep = Callable[[Tensor], None]

BAND_HEIGHT = 32
"""Queries per band without a patch size."""

REDUCED_VALUES = 1 << 21
"""Log probabilities whose patches are reduced at once, counting those above the diagonal."""


@dataclass(frozen=True)
class Capture:
    """Which heads to capture, and what to keep of them.

    Attributes:
        reduce: turns one layer's log probabilities into the value to keep.
        heads: head indices by layer, or None for every head; layers without heads are not reduced.
        patch_size: side of the lower-triangle patches to cut the patterns into; None keeps them whole.
        results: the values that `reduce` returned, in order, by layer.
    """

    reduce: Reduce
    heads: Mapping[int, Sequence[int]] | None
    patch_size: int | None = None
    results: dict[int, list[Any]] = field(default_factory=dict)
    _buffers: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False)

    def of_layer(self, layer: int, heads: int, prompts: int, tokens: int) -> LayerCapture | None:
        """The capture of a layer that has `heads` heads; None if it captures no head.

        Raises:
            ApmaeError: the patch size does not divide the number of tokens.
        """
        chosen = list(range(heads) if self.heads is None else self.heads.get(layer, ()))
        if not chosen:
            return None
        assert layer not in self.results, "a layer ran twice in one forward pass"
        results = self.results[layer] = []

        def keep(log_probs: Tensor) -> None:
            results.append(self.reduce(layer, log_probs))

        if self.patch_size is None:
            return LayerCapture(chosen, BAND_HEIGHT, _whole(prompts, tokens, keep))
        if tokens % self.patch_size:
            raise ApmaeError(f"patterns of {tokens} tokens have no whole patches of side {self.patch_size}")
        at_once = max(1, REDUCED_VALUES // (len(chosen) * tokens**2))
        patches = _patches(self.patch_size, tokens, prompts, at_once, self._buffer, keep)
        return LayerCapture(chosen, self.patch_size, patches)

    def _buffer(self, like: Tensor, *shape: int) -> Tensor:
        """Reused memory, since fresh pages cost as much as the computation that fills them."""
        if shape not in self._buffers:
            self._buffers[shape] = like.new_empty(shape)
        return self._buffers[shape]


@dataclass(frozen=True)
class BandCapture:
    """What to keep of every head's bands of rows, of which only one exists at a time.

    Attributes:
        reduce: turns one layer's band into the value to keep.
        results: the values that `reduce` returned, in order, by layer.
    """

    reduce: ReduceBand
    results: dict[int, list[Any]] = field(default_factory=dict)

    def of_layer(self, layer: int, heads: int, _prompts: int, _tokens: int) -> LayerCapture:
        """The capture of a layer that has `heads` heads."""
        assert layer not in self.results, "a layer ran twice in one forward pass"
        results = self.results[layer] = []

        def collect(band: Band) -> None:
            results.append(self.reduce(layer, band))

        return LayerCapture(list(range(heads)), BAND_HEIGHT, collect)


class LayerCapture(NamedTuple):
    """The capture of one layer.

    Attributes:
        heads: which heads, ascending.
        height: queries in a band.
        collect: called with every band of these heads, in order.
    """

    heads: list[int]
    height: int
    collect: Callable[[Band], None]


def _whole(prompts: int, tokens: int, keep: Keep) -> Callable[[Band], None]:
    made: list[Tensor] = []

    def collect(band: Band) -> None:
        if not made:
            heads = band.values.shape[1]
            made.append(band.values.new_full((prompts, heads, tokens, tokens), -torch.inf))
        made[0][band.prompts, :, band.rows, : band.values.shape[-1]] = band.values
        if (band.prompts.stop, band.rows.stop) == (prompts, tokens):
            keep(made.pop())

    return collect


def _patches(
    patch_size: int, tokens: int, prompts: int, at_once: int, buffer: Callable[..., Tensor], keep: Keep
) -> Callable[[Band], None]:
    """Cut bands into patches. `keep` gets them for at least `at_once` prompts, or for the last ones."""
    made: list[Tensor] = []
    first = 0

    def collect(band: Band) -> None:
        nonlocal first
        if not made:
            first, step = band.prompts.start, band.prompts.stop - band.prompts.start
            count = min(-(-at_once // step) * step, prompts - first)
            patches = causal_patch_count(tokens // patch_size)
            made.append(buffer(band.values, count, band.values.shape[1], patches, patch_size, patch_size))
        row = band.rows.start // patch_size
        cells = band.values.unflatten(-1, (row + 1, patch_size)).transpose(-3, -2)  # type: ignore[no-untyped-call]
        places = slice(band.prompts.start - first, band.prompts.stop - first)
        made[0][places, :, causal_patch_count(row) : causal_patch_count(row + 1)] = cells
        if band.rows.stop == tokens and places.stop == len(made[0]):
            keep(made.pop().flatten(-2))

    return collect
