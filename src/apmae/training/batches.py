"""Batches of patterns, captured on the fly, as a function of the step (paper section 4, "Data").

A *round* takes the next prompts of a seeded order, captures a seeded fraction of every layer's heads, and
mixes the patterns. Batches are drawn from the mix until it is used up. Every draw is a function of the
training seed and of a number. So no position is stored: a resumed training asks for the batch of its next
step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import polars as pl
import torch
from torch import Tensor

from apmae.autoencoder import APMAEConfig, PatternTokens, tokens_of
from apmae.autoencoder.patterns import scale
from apmae.common.errors import ApmaeError
from apmae.common.seeding import numpy_generator, torch_generator
from apmae.study.artifacts import token_ids
from apmae.study.config import StudyConfig
from apmae.target_model import Head, Target
from apmae.target_model.model import TokenIds

LANES = 8


class PatternBatches:
    """Batches of training patterns as a function of the step.

    A round's prompts are dealt to `LANES` lanes. Each lane chooses heads, captures and mixes on its own, and
    gives the same number of patterns to every batch. A process works on some of the lanes, so the batches do
    not depend on the number of processes.
    """

    def __init__(
        self,
        target: Target,
        prompts: pl.DataFrame,
        config: StudyConfig,
        model_config: APMAEConfig,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | None = None,
    ) -> None:
        """Set up, without capturing yet.

        Args:
            device: device of the batches and of the patterns they are drawn from; the target's by
                default.

        Raises:
            ApmaeError: the numbers of patterns, prompts and processes do not fit together.
        """
        training = config.training
        if LANES % processes:
            raise ApmaeError(f"training runs on 1, 2, 4 or 8 processes, not on {processes}")
        self.target = target
        self.device = device or target.device
        self.input_ids = token_ids(prompts)
        self.seed = config.training_seed
        self.training = training
        self.target_batch = config.target.batch_size
        self.model_config = model_config
        self.lanes = range(rank, LANES, processes)
        self.lane_prompts = training.prompts_per_round // LANES
        self.lane_batch = training.batch_size // LANES
        self.layer_heads = max(1, round(training.head_fraction * target.n_heads))
        lane_patterns = self.lane_prompts * self.layer_heads * target.n_layers
        self.batches_per_round = lane_patterns // self.lane_batch
        if not self.batches_per_round:
            raise ApmaeError(
                f"training.prompts_per_round {training.prompts_per_round} gives "
                f"{lane_patterns * LANES} patterns, fewer than training.batch_size"
            )
        self._round = -1
        self._tokens: list[PatternTokens] = []

    def batch(self, step: int) -> tuple[PatternTokens, Tensor]:
        """The process's part of the step's patterns, and their mask noise (N, K)."""
        number, position = divmod(step, self.batches_per_round)
        if number != self._round:
            self._tokens = []  # frees the last round's patterns before the next ones are captured
            self._tokens = [self._capture(number, lane) for lane in self.lanes]
            self._round = number
        rows = slice(position * self.lane_batch, (position + 1) * self.lane_batch)
        shares = [take(tokens, rows) for tokens in self._tokens]
        noise = [
            torch.rand(
                self.lane_batch,
                self.model_config.causal_patches,
                generator=self._generator("noise", step, lane),
            )
            for lane in self.lanes
        ]
        return concatenate(shares), torch.cat(noise).to(self.device)

    def _capture(self, number: int, lane: int) -> PatternTokens:
        """The lane's patterns of one round, mixed."""
        first = number * self.training.prompts_per_round + lane
        chosen = range(first, first + self.training.prompts_per_round, LANES)
        input_ids = self.input_ids[[self._row(place) for place in chosen]]
        heads = self._heads(len(input_ids), number, lane)
        captured = []
        for start in range(0, len(input_ids), self.target_batch):
            rows = slice(start, start + self.target_batch)
            captured.append(
                capture_tokens(self.target, input_ids[rows], heads[rows], self.model_config, self.device)
            )
        tokens = concatenate(captured)
        order = torch.randperm(len(tokens.patches), generator=self._generator("mix", number, lane))
        return take(tokens, order.to(tokens.patches.device))

    def _heads(self, prompts: int, number: int, lane: int) -> list[list[Head]]:
        """The heads to capture of each prompt of a lane's round."""
        generator = self._generator("heads", number, lane, 0)  # 0: as draws were when batches had their own
        if self.training.heads_drawn_per == "prompt":
            return [draw_heads(self.target, self.layer_heads, generator) for _ in range(prompts)]
        return [draw_heads(self.target, self.layer_heads, generator)] * prompts

    def _row(self, place: int) -> int:
        """The prompt at a place in an endless order that repeats seeded permutations of the prompts."""
        epoch, index = divmod(place, len(self.input_ids))
        return int(_permutation(self.seed, epoch, len(self.input_ids))[index])

    def _generator(self, *name: str | int) -> torch.Generator:
        return torch_generator(self.seed, "training", *name)


def draw_heads(target: Target, per_layer: int, generator: torch.Generator) -> list[Head]:
    """Draw the same number of heads from every layer (paper section 4, "Data")."""
    return [
        (layer, head)
        for layer in range(target.n_layers)
        for head in torch.randperm(target.n_heads, generator=generator)[:per_layer].tolist()
    ]


def capture_tokens(
    target: Target,
    input_ids: TokenIds,
    heads: Sequence[Sequence[Head]],
    config: APMAEConfig,
    device: torch.device,
    dtype: torch.dtype = torch.float16,
) -> PatternTokens:
    """Capture patterns as tokens on one device, ordered by layer, prompt, head.

    The target's layers may lie on several devices.

    Args:
        heads: of each prompt. The forward pass captures the heads of all prompts and drops the rest.
    """
    drawn = sorted(set(chain.from_iterable(heads)))
    wanted_BS = torch.tensor([[head in of_prompt for head in drawn] for of_prompt in map(set, heads)])
    layers_S = torch.tensor([layer for layer, _ in drawn])
    prompts_done: Counter[int] = Counter()

    def reduce(layer: int, log_patches_BHKP: Tensor) -> PatternTokens:
        first = prompts_done[layer]
        prompts_done[layer] += len(log_patches_BHKP)
        wanted_BH = wanted_BS[first : prompts_done[layer], layers_S == layer]
        log_patches = log_patches_BHKP.flatten(0, 1) if wanted_BH.all() else log_patches_BHKP[wanted_BH]
        patches = scale(log_patches, config.scaling).to(device, dtype)
        return tokens_of(patches, config)

    _, by_layer = target.capture_patches(input_ids, config.patch_size, reduce, drawn)
    return concatenate([part for layer in sorted(by_layer) for part in by_layer[layer]])


def take(tokens: PatternTokens, rows: slice | Tensor) -> PatternTokens:
    """The patterns at `rows`."""
    return PatternTokens(tokens.patches[rows], None if tokens.rows is None else tokens.rows[rows])


def concatenate(parts: list[PatternTokens]) -> PatternTokens:
    """The patterns of all parts, in order."""
    rows = [part.rows for part in parts if part.rows is not None]
    return PatternTokens(torch.cat([part.patches for part in parts]), torch.cat(rows) if rows else None)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    return numpy_generator(seed, "training", "epoch", epoch).permutation(count)
