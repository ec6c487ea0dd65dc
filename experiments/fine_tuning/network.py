"""An AP-MAE whose encodings of all heads of a prompt tell whether the completion is correct.

Shape suffixes: B prompts, N heads of the target, D size of an encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apmae.autoencoder import APMAEModel, PatternTokens
from apmae.target_model import Target
from apmae.token_study.models import Inputs, new_model
from apmae.training.batches import capture_tokens
from apmae.vocabulary import Readout

READOUTS: tuple[Readout, ...] = ("cls", "row")
"""Of the AP-MAE, side by side."""

STANDARDISING_PROMPTS = 256
"""Prompts whose encodings standardise the classifier's columns."""


@dataclass(frozen=True)
class Patterns:
    """Patterns of every head of some prompts. They are captured when they are asked for, and never stored.

    They are float32, as the study encodes them; float16 moves encodings by a few hundredths.

    Attributes:
        target: whose patterns these are.
        model: the AP-MAE that reads them.
        input_ids: (prompts, tokens) int32.
    """

    target: Target
    model: APMAEModel
    input_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.input_ids)

    def take(self, rows: NDArray[np.int64]) -> Patterns:
        """Those of some prompts."""
        return replace(self, input_ids=self.input_ids[rows])

    def tokens(self) -> PatternTokens:
        """All patterns, ordered by layer, prompt and head."""
        every = [self.target.heads] * len(self)
        config, device = self.model.config, self.model.device
        return capture_tokens(self.target, self.input_ids, every, config, device, torch.float32)


class PatternClassifier(nn.Module):
    """Log-odds that a completion is correct, from the patterns of all heads.

    Attributes:
        model: the AP-MAE; its decoder has no part.
        classifier: heads as tokens, see `apmae.token_study.models`.
    """

    def __init__(self, patterns: Patterns) -> None:
        """Standardise the encodings as they are before training, of the first few prompts."""
        super().__init__()
        self.model = patterns.model
        self._shape = patterns.target.n_layers, patterns.target.n_heads
        self.model.decoder.requires_grad_(False)
        known = patterns.take(np.arange(min(len(patterns), STANDARDISING_PROMPTS)))
        with torch.inference_mode():
            pieces = np.array_split(np.arange(len(known)), -(-len(known) // 16))
            encodings = torch.cat([self.encode(known.take(rows).tokens()) for rows in pieces]).numpy()
        self.classifier = new_model("heads", Inputs(np.empty((len(known), 0), np.float32), encodings))

    def encode(self, tokens: PatternTokens) -> Tensor:
        """(B, N, D): encodings of the patterns of whole prompts, ordered by layer, prompt and head."""
        found = self.model.encode_readouts(tokens, READOUTS)
        encodings = torch.cat([found[readout].float() for readout in READOUTS], -1)
        layers, heads = self._shape
        by_layer = encodings.reshape(layers, -1, heads, encodings.shape[-1])
        return by_layer.transpose(0, 1).flatten(1, 2)

    def forward(self, tokens: PatternTokens) -> Tensor:
        """(B,) log-odds."""
        encodings_BND = self.encode(tokens)
        log_odds: Tensor = self.classifier(encodings_BND.new_empty(len(encodings_BND), 0), encodings_BND)
        return log_odds
