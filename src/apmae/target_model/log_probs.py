"""Log probabilities of attention, in float32, from a layer's queries and keys.

`bands` computes them in rows of a few queries, only as wide as causality allows, for a few prompts at a time.
This halves the work and keeps a band in the processor's cache while it is used.

Shape suffixes: B prompts, S heads, Q queries, T keys, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from apmae.autoencoder.patterns import log_softmax_masked

CACHED_VALUES = 1 << 18
"""Log probabilities per band on a CPU: 1 MiB of float32. They stay in a core's cache between the product, the
softmax and the copy."""


class Attention(NamedTuple):
    """Inputs of a layer's attention probabilities.

    Attributes:
        query: (B, S, Q, D), any float dtype.
        key: (B, S, T, D), or fewer heads where S query heads share theirs.
        allowed: bool, broadcastable to (B, S, Q, T); None for plain causality, with the last query at
            the last key.
        scaling: factor of the scores.
        softcap: if given, scores become `softcap * tanh(scores / softcap)` (Gemma 2).
        sinks: (S,) if given, a further score in every row's denominator (GPT-OSS).
        position_bias: (B or 1, S, Q or 1, T), if given, added to the scaled scores (ALiBi).
    """

    query: Tensor
    key: Tensor
    allowed: Tensor | None
    scaling: float
    softcap: float | None
    sinks: Tensor | None
    position_bias: Tensor | None

    def of_heads(self, heads: Sequence[int]) -> Attention:
        """The attention of some heads, each with its own key. All heads are left as they are."""
        chosen = list(heads)
        if chosen == list(range(self.query.shape[1])):
            return self

        def cut(values: Tensor | None) -> Tensor | None:
            return values if values is None or values.shape[1] == 1 else values[:, chosen]

        groups = self.query.shape[1] // self.key.shape[1]
        return self._replace(
            query=self.query[:, chosen],
            key=self.key[:, [head // groups for head in chosen]],
            allowed=cut(self.allowed),
            sinks=None if self.sinks is None else self.sinks[chosen],
            position_bias=cut(self.position_bias),
        )

    def last_query(self) -> Attention:
        """The attention of the last query alone."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[:, :, -1:]

        return self._replace(
            query=self.query[:, :, -1:], allowed=cut(self.allowed), position_bias=cut(self.position_bias)
        )


def log_probs(attention: Attention) -> Tensor:
    """Log-softmax of the scores: (B, S, Q, T) float32, -inf where masked.

    With sinks a row sums to less than one.
    """
    query, key, allowed, scaling, softcap, sinks, position_bias = attention
    scores = _products(query.float() * scaling, key.float())
    if softcap is not None:
        scores = scores.div_(softcap).tanh_() * softcap  # a product in place would spoil tanh's gradient
    if position_bias is not None:
        scores += position_bias
    values = log_softmax_masked(scores, allowed)
    if sinks is None:
        return values
    # A sink s is a further entry of the row: the denominator is sum(exp(scores)) + exp(s).
    total = scores.logsumexp(-1, keepdim=True)
    denominator = torch.logaddexp(total, sinks.float().view(-1, 1, 1))
    return values - (denominator - total).nan_to_num(posinf=0)


def _products(query: Tensor, key: Tensor) -> Tensor:
    """Products of every query and key: (B, S, Q, T). Heads that share keys are multiplied together."""
    if query.shape[1] == key.shape[1]:
        return query @ key.transpose(-1, -2)
    together = query.unflatten(1, (key.shape[1], -1)).flatten(2, 3)  # type: ignore[no-untyped-call]
    scores: Tensor = together @ key.transpose(-1, -2)
    return scores.view(*query.shape[:3], key.shape[2])


class Band(NamedTuple):
    """Log probabilities of a few queries of a few prompts.

    Attributes:
        prompts: the prompts of the batch.
        rows: the queries.
        values: (b, S, rows, keys) float32; all these queries are masked from later keys.
    """

    prompts: slice
    rows: slice
    values: Tensor


def bands(attention: Attention, height: int) -> Iterator[Band]:
    """All log probabilities, band by band: prompts in order, and the queries of each in order.

    A GPU needs large pieces of work, so a band has `height` queries of all prompts.
    """
    prompts, heads, queries = attention.query.shape[:3]
    keys = attention.key.shape[2]
    on_cpu = attention.query.device.type == "cpu"
    step = max(1, CACHED_VALUES // (heads * height * keys)) if on_cpu else prompts
    for first in range(0, prompts, step):
        some = slice(first, min(first + step, prompts))
        wide = attention._replace(query=attention.query[some].float(), key=attention.key[some].float())
        for start in range(0, queries, height):
            rows = slice(start, min(start + height, queries))
            yield Band(some, rows, log_probs(_cut(wide, some, rows, keys - queries + rows.stop)))


def _cut(attention: Attention, prompts: slice, rows: slice, keys: int) -> Attention:
    """Some queries with the keys they may attend to, and the masks and biases of some prompts."""

    def cut(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        of_prompts = values[prompts] if values.shape[0] > 1 else values
        return of_prompts[:, :, rows if values.shape[2] > 1 else slice(None), :keys]

    return attention._replace(
        query=attention.query[:, :, rows],
        key=attention.key[:, :, :keys],
        allowed=cut(attention.allowed),
        position_bias=cut(attention.position_bias),
    )
