"""Completions: prompts, and the true tokens that the target has to write after them.

Greedy decoding writes them if each is the most probable token behind the prompt and the true tokens before
it. So one pass over a prompt and its true tokens tells, and nothing has to be decoded.

Shape suffixes: B prompts, T tokens of a prompt, C true tokens of the longest completion, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from apmae.study.artifacts import token_ids

NONE = -1
"""Stands behind the true tokens of a shorter completion."""


@dataclass(frozen=True)
class Completions:
    """What a pass needs, and what its logits are compared with.

    Attributes:
        input_ids: (B, T + C - 1) int64, prompts with their true tokens but the last; zeros behind
            shorter ones.
        true_ids: (B, C) int64, `NONE` behind shorter ones.
    """

    input_ids: Tensor
    true_ids: Tensor

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], true_ids: Sequence[Sequence[int]]) -> Self:
        """Prompts of one length, each with its true tokens, one at least."""
        longest = max(map(len, true_ids))
        padded = torch.tensor([[*ids, *[NONE] * (longest - len(ids))] for ids in true_ids])
        inputs = torch.as_tensor(np.asarray(prompts)).long()
        return cls(torch.cat([inputs, padded[:, :-1].clamp(min=0)], dim=1), padded)

    @classmethod
    def of_table(cls, prompts: pl.DataFrame) -> Self:
        """Those of a table with `input_ids` of one length and `true_ids`."""
        return cls.of(token_ids(prompts).tolist(), prompts["true_ids"].to_list())

    @property
    def positions(self) -> range:
        """Where the logits are of the true tokens: C positions."""
        last = self.input_ids.shape[1]
        return range(last - self.true_ids.shape[1], last)

    def written(self, logits_BCV: Tensor) -> Tensor:
        """(B,) bool: whether greedy decoding writes all true tokens."""
        true_ids = self.true_ids.to(logits_BCV.device)
        return ((logits_BCV.argmax(-1) == true_ids) | (true_ids == NONE)).all(1)

    def log_probability(self, logits_BCV: Tensor) -> Tensor:
        """(B,) float32: log probability of all true tokens together, nats."""
        true_ids = self.true_ids.to(logits_BCV.device)
        each = logits_BCV.log_softmax(-1).gather(-1, true_ids.clamp(min=0)[..., None])[..., 0]
        return each.where(true_ids != NONE, 0).sum(1)
