"""The language model under study: run it, capture its patterns, scale its heads."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from apmae.autoencoder.patterns import scale
from apmae.common.errors import ApmaeError
from apmae.study.config import TargetConfig
from apmae.target_model.adapters import route_attention
from apmae.target_model.attention import activated, active_scaling
from apmae.target_model.capture import BandCapture, Capture, Reduce, ReduceBand
from apmae.target_model.completions import Completions
from apmae.target_model.float32_logits import float32_logits
from apmae.target_model.from_layer import LayerInputs, recording, restarted, without_layers
from apmae.target_model.head_scaling import HeadScaling
from apmae.target_model.hidden_states import layer_of, recording_outputs, recording_residual_stream
from apmae.target_model.last_rows import LastRows
from apmae.target_model.loading import load_model_and_tokenizer
from apmae.target_model.probe import probe
from apmae.target_model.projections import output_projections
from apmae.target_model.weights import Weights, find_weights
from apmae.vocabulary import Scaling

Head = tuple[int, int]
"""(layer, head), both from 0."""

TokenIds = Tensor | np.ndarray[Any, Any] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class TargetOutput:
    """Result of one forward pass.

    Attributes:
        logits: (B, V) float32, of the last position.
        patterns: (B, L, H, T, T) float32 in [0, 1]; with chosen heads (B, len(heads), T, T) in
            their order.
    """

    logits: Tensor
    patterns: Tensor


class Target:
    """A causal language model whose heads can be captured and scaled.

    Attributes:
        name: the name it was loaded by.
        n_layers, n_heads: layers, and query heads per layer.
        tokenizer: its Hugging Face tokenizer.
        weights: the files that it was loaded from; None if from none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        weights: Weights | None = None,
    ) -> None:
        """Wrap a model, and route its attention through the one attention function.

        Raises:
            ApmaeError: the model's attention cannot be captured exactly.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.weights = weights
        route_attention(model)
        found = probe(model, name)
        self._layers = found.layers
        self._head_sizes = found.head_sizes
        self.n_layers = len(found.layers)
        self.n_heads = found.heads

    @classmethod
    def load(
        cls,
        model: str,
        dtype: str = "auto",
        device: str = "auto",
        trust_remote_code: bool = False,
    ) -> Target:
        """Load a hub id, a directory, a `.gguf` file or an alias.

        Raises:
            ApmaeError: the model does not exist, or its attention cannot be captured.
        """
        network, tokenizer = load_model_and_tokenizer(model, dtype, device, trust_remote_code)
        return cls(network, tokenizer, model, find_weights(model))

    @classmethod
    def from_config(cls, config: TargetConfig) -> Target:
        """Load the target that a study names."""
        return cls.load(config.model, config.dtype, config.device, config.trust_remote_code)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        dtype = self.model.dtype
        assert isinstance(dtype, torch.dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        device = self.model.device
        assert isinstance(device, torch.device)
        return device

    @cached_property
    def heads(self) -> list[Head]:
        """Every (layer, head), by layer, then head."""
        return [(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)]

    def logits(self, input_ids: TokenIds, attention_mask: Tensor | None = None) -> Tensor:
        """Next-token logits (B, V), float32, of a plain forward pass.

        Args:
            input_ids: (B, T) token ids.
            attention_mask: (B, T), 0 at padding on the left; None where there is none.

        Raises:
            ApmaeError: the prompts are longer than the model's limit.
        """
        with torch.inference_mode():
            return self._last_logits(input_ids, attention_mask)

    def logits_at(self, input_ids: TokenIds, positions: Sequence[int]) -> Tensor:
        """Next-token logits (B, len(positions), V), float32, at some positions.

        Args:
            input_ids: (B, T) without padding on the left.
            positions: ascending.

        Raises:
            ApmaeError: the sequences are longer than the model's limit.
        """
        with torch.inference_mode():
            return self._logits(input_ids, None, torch.as_tensor(positions))

    def greedy(self, input_ids: TokenIds, count: int) -> Tensor:
        """What greedy decoding writes: (B, count) int64 token ids on the CPU, whatever tokens they are.

        Args:
            input_ids: (B, T) without padding.
            count: tokens to write, one at least.

        Raises:
            ApmaeError: the sequences would be longer than the model's limit.
        """
        ids = self._checked(input_ids, count - 1)
        written, cache = [], None
        with torch.inference_mode(), float32_logits(self.model):
            last = {"logits_to_keep": 1} if self._keeps_some_logits else {}
            for _ in range(count):
                output = self.model(input_ids=ids, past_key_values=cache, use_cache=True, **last)
                ids, cache = output.logits[:, -1:].argmax(-1), output.past_key_values
                written.append(ids.cpu())
        return torch.cat(written, dim=1)

    def capture(
        self,
        input_ids: TokenIds,
        reduce: Reduce,
        heads: Iterable[Head] | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[int, Any]]:
        """Run the model and reduce the patterns layer by layer.

        Args:
            reduce: called with (layer, log_probs (B, S, T, T) float32, -inf where masked). S are the
                layer's heads in ascending order.
            heads: which heads; every one by default.

        Returns:
            Logits (B, V), and the values that `reduce` returned, by layer.
        """
        logits, results = self._capture(input_ids, reduce, heads, attention_mask, None)
        return logits, {layer: result for layer, (result,) in results.items()}

    def capture_patches(
        self,
        input_ids: TokenIds,
        patch_size: int,
        reduce: Reduce,
        heads: Iterable[Head] | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[int, list[Any]]]:
        """Run the model and reduce the patterns' lower-triangle patches. No others are computed.

        Args:
            patch_size: P; divides the number of tokens.
            reduce: called with (layer, log_patches (b, S, K, P * P) float32, as `patchify` cuts them,
                -inf where masked) for a few prompts at a time, in order.
            heads: which heads; every one by default.

        Returns:
            Logits (B, V), and by layer the values that `reduce` returned, in order.
        """
        return self._capture(input_ids, reduce, heads, attention_mask, patch_size)

    def capture_bands(
        self, input_ids: TokenIds, positions: Sequence[int], reduce: ReduceBand
    ) -> tuple[Tensor, dict[int, list[Any]]]:
        """Run the model and reduce the rows of every head's pattern as they are computed.

        Args:
            input_ids: (B, T) without padding.
            positions: of the logits.
            reduce: called with (layer, band) for a few rows of a few prompts at a time, in order.

        Returns:
            Logits (B, len(positions), V) float32, only the largest exact where the weights are not float32
            (`apmae.target_model.float32_logits`), and by layer what `reduce` returned, call by call.
        """
        capture = BandCapture(reduce)
        with activated(self._layers, capture=capture), torch.inference_mode():
            logits = self._logits(input_ids, None, torch.as_tensor(positions), largest_only=True)
        assert len(capture.results) == self.n_layers, "a layer did not run"
        return logits, capture.results

    @contextmanager
    def recording_last_rows(self) -> Iterator[LastRows]:
        """Put down, within the block, the last row of every head's pattern in whatever pass the model makes.

        Passes may be of any caller, with a key-value cache too, as in `generate`.

        Yields:
            The rows of the last pass.
        """
        rows = LastRows()
        with activated(self._layers, last_queries=rows.attentions):
            yield rows

    def run(
        self,
        input_ids: TokenIds,
        heads: Sequence[Head] | None = None,
        scaling: Scaling = "min_normalized",
        attention_mask: Tensor | None = None,
    ) -> TargetOutput:
        """Logits and scaled patterns of a few prompts, all in memory.

        For many prompts use `capture`, which keeps only the values that `reduce` returns.
        """
        logits, by_layer = self.capture(
            input_ids,
            lambda _layer, log_probs: scale(log_probs, scaling).to(self.device),  # from the layer's own
            heads,
            attention_mask,
        )
        if heads is None:
            return TargetOutput(logits, torch.stack([by_layer[layer] for layer in range(self.n_layers)], 1))
        chosen = self._by_layer(heads)
        patterns = [by_layer[layer][:, chosen[layer].index(head)] for layer, head in heads]
        return TargetOutput(logits, torch.stack(patterns, 1))

    @contextmanager
    def recording_hidden_states(
        self, depths: Collection[int], positions: int | slice = -1
    ) -> Iterator[dict[int, list[Tensor]]]:
        """Collect, within the block, the residual stream behind some numbers of layers.

        Args:
            depths: 0 is what enters the first layer, `n_layers` what the last one returns, before the
                final norm.
            positions: one or several, the last by default.

        Yields:
            By depth, a list to which every forward pass adds a tensor, (B, D) or (B, positions, D) float32.
        """
        with recording_residual_stream(self._blocks, depths, positions) as recorded:
            yield recorded

    @contextmanager
    def recording_attention_outputs(self) -> Iterator[list[list[Tensor]]]:
        """Collect, within the block, what every layer's output projection of attention returns.

        Yields:
            By layer, a list to which every forward pass adds a tensor (B, D) float32, of the last position.

        Raises:
            ApmaeError: the names of the projections are not known.
        """
        modules = [projection.module for projection in output_projections(self.model)]
        with recording_outputs(modules) as recorded:
            yield recorded

    def logit_lens(self, hidden_BQD: Tensor) -> Tensor:
        """Next-token logits (B, Q, V) float32 if the last layer had returned these vectors.

        The model's own final norm, output projection, caps and scales make them (nostalgebraist 2020,
        "interpreting GPT: the logit lens").

        Args:
            hidden_BQD: vectors of the residual stream's width; they do not see each other.
        """
        prompts, vectors = hidden_BQD.shape[:2]
        hidden = hidden_BQD.to(self.device, self.dtype)
        ids = torch.zeros(prompts, vectors, dtype=torch.int64)
        with torch.inference_mode(), without_layers(self._blocks, hidden, self._beside_hidden):
            return self._logits(ids, None, torch.arange(vectors))

    def layer_inputs(
        self, input_ids: TokenIds, positions: Sequence[int], layers: Collection[int]
    ) -> tuple[Tensor, LayerInputs]:
        """`logits_at`, and what entered the given layers in that pass, for `logits_from`."""
        with recording(self._blocks, set(layers)) as inputs:
            logits = self.logits_at(input_ids, positions)
        return logits, inputs

    def logits_from(
        self, layer: int, inputs: LayerInputs, rows: Tensor, input_ids: TokenIds, positions: Sequence[int]
    ) -> Tensor:
        """`logits_at` of a pass that starts at `layer`. Exact if no earlier layer changes.

        Args:
            inputs: of prompts without padding, with this layer among them.
            rows: (B,) the prompts to run, as rows of `inputs`; a prompt may occur several times.
            input_ids: (B, T) token ids of these prompts.
        """
        with restarted(self._blocks, layer, inputs.hidden[layer][rows], inputs.rest):
            return self.logits_at(input_ids, positions)

    @contextmanager
    def scale_heads(
        self, factors: Mapping[Head, float] | Tensor, replacement: Tensor | None = None
    ) -> Iterator[None]:
        """Scale or replace the heads' outputs at every position, within the block.

        A head hands `factor * output + (1 - factor) * replacement` to the output projection. A factor of 0
        removes the head (paper section 7) or puts its replacement in its place. `mean_head_outputs` gives
        replacements for mean ablation. In nested blocks the outer one applies first.

        Args:
            factors: by (layer, head), or a tensor (L, H), or (B, L, H) with a row per prompt of the
                batch.
            replacement: (L, H, D), or (B, L, H, D) with a row per prompt; zeros by default.

        Raises:
            ApmaeError: a head that the model does not have, or a tensor of another shape.
        """
        scaling = HeadScaling(self._factor_tensor(factors))
        if replacement is not None:
            replacement = self._replacement_tensor(replacement)
            scaling = HeadScaling(scaling.factors, (1 - scaling.factors[..., None]) * replacement)
        outer = active_scaling(self._layers)
        with activated(self._layers, scaling=scaling if outer is None else scaling.after(outer)):
            yield

    def factor_gradients(self, completions: Completions, factors: Mapping[Head, float] | Tensor) -> Tensor:
        """Gradient of the true tokens' log probability by every head's factor, in one backward pass.

        Args:
            completions: B prompts with their true tokens.
            factors: as in `scale_heads`; the gradient is taken at these factors.

        Returns:
            (B, L, H) float32 on the CPU: derivative of the log probability by each factor, nats.

        Raises:
            ApmaeError: as `scale_heads` and `logits` do.
        """
        at_BLH = self._factor_tensor(factors).expand(len(completions.true_ids), -1, -1).clone()
        at_BLH.requires_grad_()
        logits = self.logits_under(at_BLH, completions.input_ids, completions.positions)
        (gradients,) = torch.autograd.grad(completions.log_probability(logits).sum(), at_BLH)
        return gradients

    def logits_under(self, factors: Tensor, input_ids: TokenIds, positions: Sequence[int]) -> Tensor:
        """`logits_at` with the heads scaled, with gradients by the factors.

        Args:
            factors: (L, H) or (B, L, H), as in `scale_heads`.
            input_ids: (B, T) without padding on the left.
            positions: ascending.

        Returns:
            (B, len(positions), V) float32.
        """
        with self.scale_heads(factors):
            return self._logits(input_ids, None, torch.as_tensor(positions))

    @cached_property
    def has_gradients(self) -> bool:
        """Whether log probabilities have gradients by the heads' factors; quantised layers may give none."""
        try:
            gradients = self.factor_gradients(Completions.of([[0, 0]], [[0]]), {})
        except (RuntimeError, NotImplementedError):
            return False
        return bool(gradients.isfinite().all())

    def mean_head_outputs(self, batches: Iterable[TokenIds]) -> Tensor:
        """Mean output of every head, before the output projection, over prompts and positions.

        Args:
            batches: token ids (B, T) without padding; B and T may differ between batches.

        Returns:
            (L, H, D) float32 on the CPU, a `replacement` for `scale_heads`.

        Raises:
            ApmaeError: there are no prompts, or the layers differ in the size of their heads.
        """
        if len(set(self._head_sizes)) != 1:
            raise ApmaeError(
                f"{self.name}: its layers differ in the size of their heads, so no mean fits all"
            )
        total = torch.zeros(self.n_layers, self.n_heads, self._head_sizes[0], dtype=torch.float64)
        count = 0

        def observe(layer: int, output_BTHD: Tensor) -> None:
            total[layer] += output_BTHD.sum((0, 1), dtype=torch.float64).cpu()

        for input_ids in batches:
            with activated(self._layers, observe=observe):
                self.logits(input_ids)
            count += np.shape(input_ids)[0] * np.shape(input_ids)[1]
        if not count:
            raise ApmaeError("the mean of head outputs needs at least one prompt")
        return (total / count).float()

    def _last_logits(self, input_ids: TokenIds, attention_mask: Tensor | None = None) -> Tensor:
        # An index tensor, not the number 1: a slice of the hidden states is not contiguous, and PyTorch then
        # copies the vocabulary's projection for every prompt, a fifth of SmolLM2-135M's time.
        return self._logits(input_ids, attention_mask, torch.tensor([np.shape(input_ids)[1] - 1]))[:, 0]

    def _logits(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None,
        positions: Tensor,
        *,
        largest_only: bool = False,
    ) -> Tensor:
        """(B, len(positions), V) float32."""
        ids = self._checked(input_ids)
        positions = positions.to(self.device)
        options = {"logits_to_keep": positions} if self._keeps_some_logits else {}
        with float32_logits(self.model, largest_only=largest_only):
            output = self.model(
                input_ids=ids,
                attention_mask=None if attention_mask is None else attention_mask.to(self.device),
                use_cache=False,
                **options,
            )
        logits: Tensor = output.logits if options else output.logits[:, positions]
        return logits.float()

    def _checked(self, input_ids: TokenIds, further: int = 0) -> Tensor:
        """(B, T) int64 on the model's device, of tokens that it knows and, with `further` ones, can read."""
        ids = torch.as_tensor(np.asarray(input_ids) if not isinstance(input_ids, Tensor) else input_ids)
        length = ids.shape[1] + further
        if length > self.max_tokens:
            raise ApmaeError(
                f"{self.name} reads at most {self.max_tokens:.0f} tokens, the prompts have {length}"
            )
        embedded = len(self.model.get_input_embeddings().weight)
        if ids.max() >= embedded:
            raise ApmaeError(
                f"{self.name} embeds {embedded:,} tokens, and its tokenizer gave token {int(ids.max()):,}: "
                "they do not belong together"
            )
        return ids.long().to(self.device)

    def _capture(
        self,
        input_ids: TokenIds,
        reduce: Reduce,
        heads: Iterable[Head] | None,
        attention_mask: Tensor | None,
        patch_size: int | None,
    ) -> tuple[Tensor, dict[int, list[Any]]]:
        capture = Capture(reduce, None if heads is None else self._by_layer(heads), patch_size)
        with activated(self._layers, capture=capture):
            logits = self.logits(input_ids, attention_mask)
        expected = self.n_layers if capture.heads is None else len(capture.heads)
        assert len(capture.results) == expected, "a layer that was asked for did not run"
        return logits, capture.results

    @cached_property
    def _blocks(self) -> list[nn.Module]:
        """The model's layers with their attention, in order."""
        return [layer_of(self.model, attention) for attention in self._layers]

    @cached_property
    def _beside_hidden(self) -> dict[int, tuple[Any, ...] | None]:
        """What each layer returns beside its hidden state in a short pass, or None."""
        with recording(self._blocks, set()) as inputs:
            self.logits([[0, 0]])
        return inputs.rest

    @cached_property
    def _keeps_some_logits(self) -> bool:
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    @cached_property
    def max_tokens(self) -> float:
        """The longest prompt that the model supports."""
        config = self.model.config.get_text_config()
        limits = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len"))
        return next((float(limit) for limit in limits if limit), math.inf)

    def _factor_tensor(self, factors: Mapping[Head, float] | Tensor) -> Tensor:
        if isinstance(factors, Tensor):
            if factors.shape[-2:] != (self.n_layers, self.n_heads) or factors.dim() not in (2, 3):
                raise ApmaeError(
                    f"head factors of shape {tuple(factors.shape)} do not fit {self.name}: "
                    f"give (L, H) or (B, L, H) with L = {self.n_layers}, H = {self.n_heads}"
                )
            return factors.reshape(-1, self.n_layers, self.n_heads).float()
        self._check_heads(factors)
        tensor = torch.ones(1, self.n_layers, self.n_heads)
        for (layer, head), factor in factors.items():
            tensor[0, layer, head] = factor
        return tensor

    def _replacement_tensor(self, replacement: Tensor) -> Tensor:
        expected = (self.n_layers, self.n_heads, self._head_sizes[0])
        if replacement.shape[-3:] != expected or replacement.dim() not in (3, 4):
            raise ApmaeError(
                f"a replacement of shape {tuple(replacement.shape)} does not fit {self.name}: "
                f"give (L, H, D) or (B, L, H, D) with (L, H, D) = {expected}"
            )
        return replacement.reshape(-1, *expected).float()

    def _by_layer(self, heads: Iterable[Head]) -> dict[int, list[int]]:
        heads = list(heads)
        self._check_heads(heads)
        by_layer: dict[int, list[int]] = {}
        for layer, head in sorted(set(heads)):
            by_layer.setdefault(layer, []).append(head)
        return by_layer

    def _check_heads(self, heads: Collection[Head]) -> None:
        for layer, head in heads:
            if not (0 <= layer < self.n_layers and 0 <= head < self.n_heads):
                raise ApmaeError(
                    f"{self.name} has no head ({layer}, {head}): "
                    f"{self.n_layers} layers of {self.n_heads} heads, both counted from 0"
                )
