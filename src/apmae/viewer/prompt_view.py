"""What a target makes of one prompt: its outcome, and every head's attention.

Shape suffixes: L layers, H heads of a layer, T tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from apmae.common.errors import ApmaeError
from apmae.prompts.tokenization import token_texts
from apmae.target_model import Head, Target, outcomes
from apmae.viewer.prompts import HolePrompt

MOST_VALUES = 40_000_000
"""Attention weights of all heads that a page can hold: 107 MB of it, more than a browser likes."""
CANDIDATES = 5
NEAR_TOKENS = 8
"""Tokens before the hole that count as near."""


class NextToken(NamedTuple):
    """A next token and its probability."""

    token_id: int
    text: str
    probability: float


@dataclass(frozen=True)
class PromptView:
    """One prompt as one target sees it.

    Attributes:
        target: the target's name.
        weights: which weights these are, in words; empty if the target has no files.
        truth: the true next token.
        candidates: the most probable next tokens, the predicted one first.
        written: text that greedy decoding writes, of as many tokens as the hole has and the target reads.
        writes_hole: whether these are the hole's tokens.
        entropy_nats: of the next-token distribution.
        log_probs: (L, H, T, T) float32 on the CPU, -inf where masked.
    """

    target: str
    weights: str
    prompt: HolePrompt
    truth: NextToken
    candidates: tuple[NextToken, ...]
    written: str
    writes_hole: bool
    entropy_nats: float
    log_probs: Tensor

    @property
    def correct(self) -> bool:
        """Whether the predicted token is the true one."""
        return self.candidates[0].token_id == self.truth.token_id

    @property
    def continuation(self) -> str:
        """What stands in the hole, behind the blanks that its first token carries."""
        blanks = self.truth.text[: -len(self.truth.text.lstrip()) or None]
        return blanks + self.prompt.hole.text


def view_prompt(target: Target, prompt: HolePrompt) -> PromptView:
    """Run the target on a prompt and keep everything that there is to see.

    Raises:
        ApmaeError: there would be more than a page can hold.
    """
    _refuse_too_much(target, len(prompt.input_ids))
    logits, by_layer = target.capture(
        [prompt.input_ids], lambda _layer, log_probs: log_probs[0].to("cpu", copy=True)
    )
    logits = logits.cpu()
    next_token_id = prompt.true_ids[0]
    outcome = outcomes(logits, torch.tensor([next_token_id]))
    top = logits[0].softmax(-1).topk(CANDIDATES)
    ids = [next_token_id, *top.indices.tolist()]
    probabilities = [float(outcome.next_token_probability), *top.values.tolist()]
    texts = [token_texts(target.tokenizer, [token_id])[0] for token_id in ids]
    truth, *candidates = map(NextToken, ids, texts, probabilities)
    log_probs = torch.stack([by_layer[layer] for layer in range(target.n_layers)])
    weights = "" if target.weights is None else target.weights.summary
    room = target.max_tokens - len(prompt.input_ids) + 1
    true_ids = prompt.true_ids[: int(min(room, len(prompt.true_ids)))]
    written_ids = target.greedy([prompt.input_ids], len(true_ids))[0].tolist()
    return PromptView(
        target=target.name,
        weights=weights,
        prompt=prompt,
        truth=truth,
        candidates=tuple(candidates),
        written="".join(token_texts(target.tokenizer, written_ids)),
        writes_hole=tuple(written_ids) == true_ids,
        entropy_nats=float(outcome.entropy),
        log_probs=log_probs,
    )


def standout_heads(log_probs_LHTT: Tensor, count: int) -> list[Head]:
    """The heads whose last token most exceeds the other tokens in the weight that it gives to some token.

    A large weight alone says little: some tokens are looked at by all that follow them, and the last few
    by most heads. So a key's mean over the queries is taken off, and the last few keys do not count.
    """
    weights = log_probs_LHTT.exp()
    tokens = weights.shape[-1]
    queries_T = torch.arange(tokens, 0, -1)
    excess = weights[:, :, -1] - weights.sum(-2) / queries_T
    largest = pad(excess[..., :-NEAR_TOKENS], (0, 1)).amax(-1)  # short prompts have only near keys
    order = largest.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [divmod(index, largest.shape[1]) for index in order]


def _refuse_too_much(target: Target, tokens: int) -> None:
    heads = target.n_layers * target.n_heads
    most = (math.isqrt(1 + 8 * MOST_VALUES // heads) - 1) // 2
    if tokens > most:
        raise ApmaeError(
            f"{heads} heads on {tokens} tokens are too much for one page: use --length-tokens {most} or less"
        )
