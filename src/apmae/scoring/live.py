"""Scores of tokens while they are generated: from each step's own pass, with the key-value cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from apmae.autoencoder.patterns import row_statistics
from apmae.common.errors import ApmaeError
from apmae.scoring.scorer import Score, top_heads
from apmae.scoring.tokens import FIRST, TokenScorer
from apmae.target_model import outcomes_with_top
from apmae.target_model.float32_logits import float32_logits
from apmae.token_study.columns import Tokens
from apmae.token_study.tokens import TokenFeatures, hidden_depths


@contextmanager
def watch(scorer: TokenScorer) -> Iterator[list[Score]]:
    """Score, within the block, the next token of every pass of the target, as `generate` makes them.

    Yields:
        A list to which every pass of two tokens or more adds the score of the token behind its last one.

    Raises:
        ApmaeError: in the block, a pass over several sequences.
    """
    target, scores = scorer.target, list[Score]()
    depths = hidden_depths(target)
    with ExitStack() as recordings:
        rows = recordings.enter_context(target.recording_last_rows())
        hidden = recordings.enter_context(target.recording_hidden_states(depths))

        def after(_model: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> None:
            logits_BV = output.logits[:, -1].float()
            streams = [hidden[depth].pop()[:, None] for depth in depths]
            if len(logits_BV) > 1:
                raise ApmaeError("one sequence at a time can be watched: generate them one after another")
            place = _tokens_seen(kwargs, output)
            if place < FIRST:
                return
            statistics = torch.cat(rows.summarized(row_statistics), dim=1).cpu()
            unknown = torch.zeros(1, dtype=torch.int64, device=logits_BV.device)
            found, top = outcomes_with_top(logits_BV, unknown)
            features = TokenFeatures(
                type(found)(*(values[:, None].cpu() for values in found)),
                top[:, None].cpu(),
                statistics[:, None].cpu(),
                torch.stack(streams, 2).cpu(),
            )
            scores.append(_score(scorer, features, place))

        recordings.enter_context(float32_logits(target.model, largest_only=True))
        recordings.callback(target.model.register_forward_hook(after, with_kwargs=True).remove)
        yield scores


def _score(scorer: TokenScorer, features: TokenFeatures, place: int) -> Score:
    tokens = Tokens.of_pass(features, place, scorer.project)
    judged = scorer.judge(tokens)
    (known,) = tokens.table.iter_rows(named=True)
    return Score(
        predicted_id=known["predicted_id"],
        probability=float(judged.probability[0]),
        confidence=float(judged.confidence[0]),
        max_probability=known["max_probability"],
        heads=top_heads(judged.head_contributions[0], scorer.target.n_heads),
    )


def _tokens_seen(kwargs: dict[str, Any], output: Any) -> int:
    """Tokens of the sequence that the pass has seen, those in its cache too."""
    cache = getattr(output, "past_key_values", None)
    if cache is not None:
        return int(cache.get_seq_length())
    ids: Tensor = kwargs["input_ids"]
    return ids.shape[1]
