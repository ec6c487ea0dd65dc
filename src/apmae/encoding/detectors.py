"""Published detectors of incorrect completions, as columns that one forward pass gives.

Three look at every head's pattern: `laplacian_eigenvalues`, `sink_scores` and `lookback_ratios`. `rauq` looks
at patterns and probabilities, and `logit_lens_entropies` at no pattern. They were made for generated text of
many tokens; where a prompt has none, its last `RECENT` tokens stand for it. What their papers fit to the
columns (logistic regression, mostly of principal components) is what `apmae.prediction.linear` fits to every
block.

Shape suffixes: B prompts, L layers, H heads, G patches per side, K lower-triangle patches, P patch side,
T tokens, R recent tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apmae.autoencoder.patterns import grid_of
from apmae.target_model import Target
from apmae.vocabulary import Detector

TOP_POSITIONS = 10
RECENT = 8
"""Tokens that stand for the generated ones; the window that Lookback Lens slides over an answer."""
RAUQ_ALPHA = 0.2
"""Weight of a token's own probability, of lm-polygraph for models that follow no instructions."""
LENS_VALUES = 1 << 26
"""Logits that the logit lens makes at once; bounds the memory."""


def received_attention(log_patches_BHKP: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Attention that each position receives from all, and from itself: (B, H, T) each."""
    patches = log_patches_BHKP.exp().unflatten(-1, (patch_size, patch_size))  # type: ignore[no-untyped-call]
    grid = grid_of(patches.shape[2])
    rows, columns = torch.tril_indices(grid, grid, device=patches.device).unbind()
    received = patches.new_zeros(*patches.shape[:2], grid, patch_size)
    received.index_add_(2, columns, patches.sum(-2))
    from_itself = patches[:, :, rows == columns].diagonal(dim1=-2, dim2=-1)
    return received.flatten(-2), from_itself.flatten(-2)


def _mean_received(log_patches_BHKP: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Mean attention that each position receives from those that see it, and that from itself: (B, H, T)."""
    received, from_itself = received_attention(log_patches_BHKP, patch_size)
    queries = torch.arange(received.shape[-1], 0, -1, device=received.device)  # T - i attend to i
    return received / queries, from_itself


def laplacian_eigenvalues(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """The ten largest eigenvalues of each head's Laplacian, descending: (B, H, 10) float32.

    LapEigvals (Binkowski et al. 2025, arXiv 2502.17598): attention is a graph's weighted adjacency matrix A,
    and D its diagonal matrix of mean attention received, `d_ii = sum_u a_ui / (T - i)` with i from 0.
    D - A is lower triangular, so its eigenvalues are its diagonal, `d_ii - a_ii`.
    """
    mean_received, from_itself = _mean_received(log_patches_BHKP, patch_size)
    return (mean_received - from_itself).topk(TOP_POSITIONS, dim=-1).values.float()


def sink_scores(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """The ten largest mean attentions that positions receive, descending: (B, H, 10) float32.

    SinkProbe (Binkowski et al. 2026, arXiv 2604.10697).
    """
    mean_received, _ = _mean_received(log_patches_BHKP, patch_size)
    return mean_received.topk(TOP_POSITIONS, dim=-1).values.float()


def lookback_ratios(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """Each head's mean share of attention that goes to the context: (B, H, 1) float32.

    Lookback Lens (Chuang et al. 2024, arXiv 2407.07071): for each query the mean attention to a token of the
    context, over the sum of that and the mean attention to a token of the answer. The prompt's last tokens
    stand for the answer, and the ratio is its mean over them.
    """
    rows_BHRT = _recent_rows(log_patches_BHKP, patch_size).exp()
    recent = rows_BHRT.shape[-2]
    seen = torch.arange(1, recent + 1, device=rows_BHRT.device)
    to_context = rows_BHRT[..., :-recent].mean(-1)
    to_recent = rows_BHRT[..., -recent:].sum(-1) / seen
    return (to_context / (to_context + to_recent)).mean(-1, keepdim=True).float()


def previous_attention(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """Attention of each recent position to the one before it: (B, H, R) float32."""
    rows_BHRT = _recent_rows(log_patches_BHKP, patch_size)
    diagonal = rows_BHRT.diagonal(offset=rows_BHRT.shape[-1] - rows_BHRT.shape[-2] - 1, dim1=-2, dim2=-1)
    return diagonal.exp().float()


def rauq(previous_attention_LBHR: Tensor, log_probs_BR: Tensor) -> Tensor:
    """Uncertainty of the predicted token: (B, 1) float32, nats.

    RAUQ (Vazhentsev et al. 2025, arXiv 2505.20045): in each layer, the head that attends most to the token
    before hands confidence on, `c_i = alpha p_i + (1 - alpha) a_i c_(i-1)`, and the least confident of the
    middle layers counts. Here the recurrence begins R tokens before the predicted one, a_i is of the row that
    predicts token i, and of the confidences only that of the predicted token counts, the only one that the
    model chose.

    Args:
        previous_attention_LBHR: of the rows that predict tokens 2 to R + 1.
        log_probs_BR: (B, R + 1), of the R last tokens of the prompt and of the predicted one.
    """
    layers = len(previous_attention_LBHR)
    middle = previous_attention_LBHR[layers // 3 : math.ceil(layers / 3 * 2) + 1]
    strongest = middle.mean(-1).argmax(-1)[..., None, None].expand(-1, -1, 1, middle.shape[-1])
    attention_LBR = middle.gather(2, strongest)[:, :, 0]
    probabilities = log_probs_BR.exp()
    confidence_LB = probabilities[:, 0].expand(len(middle), -1)
    for token in range(1, probabilities.shape[1]):
        handed_on = attention_LBR[..., token - 1] * confidence_LB
        confidence_LB = RAUQ_ALPHA * probabilities[:, token] + (1 - RAUQ_ALPHA) * handed_on
    return -confidence_LB.log().amin(0)[:, None]


def logit_lens_entropies(target: Target, attention_LBD: Tensor, stream_LBD: Tensor) -> Tensor:
    """Entropies of what the logit lens reads at the last position: (3, B, L) float32, nats.

    TriLens (Yang et al. 2026, arXiv 2606.01033): for every layer what attention adds to the residual stream,
    what the feed-forward part adds, and the stream behind the layer. What a layer adds beside its attention
    counts as its feed-forward part.

    Args:
        attention_LBD: outputs of the attention's output projections.
        stream_LBD: (L + 1, B, D), the residual stream before the first layer and behind every layer.
    """
    feed_forward = stream_LBD[1:] - stream_LBD[:-1] - attention_LBD
    vectors = torch.cat([attention_LBD, feed_forward, stream_LBD[1:]]).transpose(0, 1)
    vocabulary = target.model.config.get_text_config().vocab_size
    at_once = max(1, LENS_VALUES // (vectors.shape[0] * vocabulary))
    pieces = torch.split(vectors, at_once, dim=1)
    entropies = torch.cat([_entropy(target.logit_lens(piece).log_softmax(-1)) for piece in pieces], dim=1)
    return entropies.reshape(len(entropies), 3, -1).transpose(0, 1).cpu()


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).nansum(-1)  # 0 where a cap has made it -inf


def _recent_rows(log_patches_BHKP: Tensor, patch_size: int) -> Tensor:
    """Rows of the last positions, as many as are recent and in the last patches: (B, H, R, T)."""
    grid = grid_of(log_patches_BHKP.shape[2])
    recent = min(RECENT, patch_size, grid * patch_size - 1)
    last: Tensor = log_patches_BHKP[:, :, -grid:].unflatten(-1, (patch_size, patch_size))  # type: ignore[no-untyped-call]
    return last[..., -recent:, :].transpose(2, 3).flatten(-2)


class Columns(NamedTuple):
    """What a detector makes of one layer's patterns, and how many columns that is."""

    make: Callable[[Tensor, int], Tensor]
    width: int


OF_HEADS: Mapping[str, Columns] = {
    "laplacian_eigenvalues": Columns(laplacian_eigenvalues, TOP_POSITIONS),
    "sink_scores": Columns(sink_scores, TOP_POSITIONS),
    "lookback_ratios": Columns(lookback_ratios, 1),
}
"""Detectors that look at each head alone."""


def array_shapes(detectors: Sequence[Detector], target: Target, prompts: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the detectors' arrays, by name, as in encodings.zarr."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (len(target.heads), prompts, columns.width) for name, columns in OF_HEADS.items()
    }
    shapes |= {"rauq": (prompts, 1), "logit_lens_entropies": (3, prompts, target.n_layers)}
    return {name: shapes[name] for name in detectors}


@dataclass(frozen=True)
class Detection:
    """What detectors see of one forward pass.

    Attributes:
        target: the model that runs.
        patch_size: P.
        detectors: their names.
    """

    target: Target
    patch_size: int
    detectors: Sequence[Detector]
    _seen: dict[str, dict[int, list[Tensor]]] = field(default_factory=dict)
    _attention: list[list[Tensor]] = field(default_factory=list)
    _stream: dict[int, list[Tensor]] = field(default_factory=dict)
    _recent: dict[int, list[Tensor]] = field(default_factory=dict)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within the block, a pass of the target is recorded as far as the detectors need it.

        Raises:
            ApmaeError: `logit_lens_entropies` does not know the target's output projections.
        """
        layers = self.target.n_layers
        with ExitStack() as recordings:
            if "logit_lens_entropies" in self.detectors:
                attention = self.target.recording_attention_outputs()
                self._attention.extend(recordings.enter_context(attention))
                stream = self.target.recording_hidden_states(range(layers + 1))
                self._stream.update(recordings.enter_context(stream))
            if "rauq" in self.detectors:
                recent = self.target.recording_hidden_states([layers], slice(-RECENT - 1, None))
                self._recent.update(recordings.enter_context(recent))
            yield

    def see(self, layer: int, log_patches_BHKP: Tensor) -> None:
        """Look at a layer's patterns, of a few prompts at a time, in order."""
        made: dict[str, Callable[[Tensor, int], Tensor]] = {
            name: OF_HEADS[name].make for name in self.detectors if name in OF_HEADS
        }
        if "rauq" in self.detectors:
            made["previous_attention"] = previous_attention
        for name, make in made.items():
            columns = make(log_patches_BHKP, self.patch_size).cpu()
            self._seen.setdefault(name, {}).setdefault(layer, []).append(columns)

    def arrays(self, input_ids: Tensor) -> dict[str, NDArray[np.float32]]:
        """The detectors' arrays of the recorded pass over `input_ids` (B, T), as in encodings.zarr."""
        seen = {
            name: torch.stack([torch.cat(by_layer[layer]) for layer in sorted(by_layer)])
            for name, by_layer in self._seen.items()
        }  # (L, B, H, width)
        found = {name: seen[name].transpose(1, 2).flatten(0, 1) for name in OF_HEADS if name in seen}
        if "rauq" in self.detectors:
            recent = seen["previous_attention"].shape[-1]
            log_probs = self._recent_log_probs(input_ids, recent)
            found["rauq"] = rauq(seen["previous_attention"], log_probs)
        if "logit_lens_entropies" in self.detectors:
            stream = torch.stack([self._stream[depth][0] for depth in sorted(self._stream)])
            attention = torch.stack([layer for (layer,) in self._attention])
            found["logit_lens_entropies"] = logit_lens_entropies(self.target, attention, stream)
        return {name: values.numpy() for name, values in found.items()}

    def _recent_log_probs(self, input_ids: Tensor, recent: int) -> Tensor:
        """(B, R + 1) of the last R tokens and of the predicted one."""
        (hidden,) = self._recent[self.target.n_layers]
        log_probs_BQV = self.target.logit_lens(hidden[:, -recent - 1 :]).log_softmax(-1).cpu()
        known = log_probs_BQV[:, :-1].gather(-1, input_ids[:, -recent:, None])[..., 0]
        return torch.cat([known, log_probs_BQV[:, -1].amax(-1, keepdim=True)], dim=1)
