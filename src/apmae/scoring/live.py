"""Scores of tokens while they are generated: from each step's own pass, with the key-value cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apmae.autoencoder.patterns import row_statistics
from apmae.common.errors import ApmaeError
from apmae.encoding.copying import copy_attention, copy_sources
from apmae.scoring.scorer import Score, top_heads
from apmae.scoring.tokens import FIRST, TokenScorer
from apmae.study.artifacts import COPY_ATTENTION, STATISTICS
from apmae.target_model import outcomes_with_top
from apmae.target_model.float32_logits import float32_logits
from apmae.token_study.columns import Tokens
from apmae.token_study.tokens import HEAD_FEATURES, TokenFeatures, hidden_depths


@contextmanager
def watch(scorer: TokenScorer) -> Iterator[list[Score]]:
    """Score, within the block, the next token of every pass of the target, as `generate` makes them.

    Yields:
        A list to which every pass of two tokens or more adds the score of the token behind its last one.

    Raises:
        ApmaeError: in the block, a pass over several sequences, or one whose cache holds tokens of before it.
    """
    target, scores = scorer.target, list[Score]()
    seen = torch.empty(0, dtype=torch.int64)
    depths = hidden_depths(target)
    with ExitStack() as recordings:
        rows = recordings.enter_context(target.recording_last_rows())
        hidden = recordings.enter_context(target.recording_hidden_states(depths))

        def after(_model: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            nonlocal seen
            logits_BV = output.logits[:, -1].float()
            streams = [hidden[depth].pop()[:, None] for depth in depths]
            if len(logits_BV) > 1:
                raise ApmaeError("one sequence at a time can be watched: generate them one after another")
            new = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            seen = _sequence(seen, new[0].cpu(), output)
            if len(seen) < FIRST:
                return
            unknown = torch.zeros(1, dtype=torch.int64, device=logits_BV.device)
            found, top = outcomes_with_top(logits_BV, unknown)
            sources_TS = copy_sources(seen[None], found.predicted_id[:, None].cpu(), len(seen))[0, 0]

            def copies(log_probs: Tensor) -> Tensor:
                sources = sources_TS[-log_probs.shape[-1] :].to(log_probs.device)
                return copy_attention(log_probs.exp(), sources)

            of_row = {STATISTICS: row_statistics, COPY_ATTENTION: copies}

            def summary(log_probs: Tensor) -> Tensor:
                return torch.cat([of_row[name](log_probs) for name in scorer.of_heads], -1)

            numbers = torch.cat(rows.summarized(summary), dim=1)[:, None].cpu()
            split = torch.split(numbers, [HEAD_FEATURES[name] for name in scorer.of_heads], -1)
            features = TokenFeatures(
                type(found)(*(values[:, None].cpu() for values in found)),
                top[:, None].cpu(),
                torch.stack(streams, 2).cpu(),
                dict(zip(scorer.of_heads, split, strict=True)),
            )
            scores.append(_score(scorer, features, seen))

        recordings.enter_context(float32_logits(target.model, largest_only=True))
        recordings.callback(target.model.register_forward_hook(after, with_kwargs=True).remove)
        yield scores


def _score(scorer: TokenScorer, features: TokenFeatures, seen: Tensor) -> Score:
    tokens = Tokens.of_pass(features, seen[None].numpy().astype(np.int32), len(seen), scorer.project)
    judged = scorer.judge(tokens)
    (known,) = tokens.table.iter_rows(named=True)
    return Score(
        predicted_id=known["predicted_id"],
        probability=float(judged.probability[0]),
        confidence=float(judged.confidence[0]),
        max_probability=known["max_probability"],
        heads=top_heads(judged.head_contributions[0], scorer.target.n_heads),
    )


def _sequence(seen: Tensor, new: Tensor, output: Any) -> Tensor:
    """(T,) all tokens that the pass has seen, those in its cache too."""
    cache = getattr(output, "past_key_values", None)
    before = 0 if cache is None else int(cache.get_seq_length()) - len(new)
    if before > len(seen):
        raise ApmaeError(
            "a sequence that began before the block cannot be watched: let the block see its first token"
        )
    return torch.cat([seen[:before], new])
