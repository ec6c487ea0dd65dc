"""The target's answers, each kept in a journal.

Mining asks the target in an order that depends on the corpus, the config and the answers before. So a
killed stage goes on by asking again from the start: what the journal has is read, and the target runs on
the rest, in the same batches. An answer's file is named by its question, so that a run that asks in another
order, as another version may, takes no answer for another's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import torch
from torch import Tensor

from apmae.common.atomic import saved_parquet
from apmae.common.checksum import new_checksum
from apmae.prompts.candidates import Candidate, Outcome, Window
from apmae.target_model import Target, outcomes


class Answers(Protocol):
    """What mining asks of a target."""

    def outcomes(self, batch: Sequence[Candidate]) -> list[Outcome]:
        """Outcomes of the candidates' own prompts."""
        ...

    def seen_in_window(self, window: Window, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by one pass over their window."""
        ...

    def seen_in_short(self, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by its short prompt."""
        ...


class TargetAnswers:
    """Answers of a target, with a journal in a directory."""

    def __init__(self, target: Target, journal: Path) -> None:
        self._target = target
        self._journal = journal

    def outcomes(self, batch: Sequence[Candidate]) -> list[Outcome]:
        """Outcomes of the candidates' own prompts, in one forward pass; `correct` is None for noise."""
        input_ids = [candidate.input_ids for candidate in batch]
        next_ids = [candidate.next_id or 0 for candidate in batch]

        def ask() -> pl.DataFrame:
            logits = self._target.logits(input_ids)
            found = outcomes(logits, torch.tensor(next_ids, device=logits.device))
            table = pl.DataFrame({name: values.tolist() for name, values in found._asdict().items()})
            known = pl.Series([candidate.next_id is not None for candidate in batch])
            return table.with_columns(
                pl.when(known).then(name).alias(name) for name in ("correct", "next_token_probability")
            )

        return self._answer(["outcomes", input_ids, next_ids], ask).to_dicts()

    def seen_in_window(self, window: Window, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by one pass over their window."""
        places = [each.place for each in candidates if isinstance(each.place, int)]
        before = [len(window.leading_ids) + place - 1 for place in places]
        input_ids = window.input_ids[: max(before) + 1]
        question = ["window", list(input_ids), before]
        return self._seen(question, candidates, lambda: self._target.logits_at(input_ids, before))

    def seen_in_short(self, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by its short prompt."""
        short = [list(each.short) for each in candidates if each.short is not None]
        return self._seen(["short", short], candidates, lambda: self._target.logits(short))

    def _seen(
        self, question: list[Any], candidates: Sequence[Candidate], logits: Callable[[], Tensor]
    ) -> list[float]:
        next_ids = [each.next_id or 0 for each in candidates]

        def ask() -> pl.DataFrame:
            log_probs = logits().log_softmax(-1)
            index = torch.tensor(next_ids, device=log_probs.device)[:, None]
            return pl.DataFrame({"seen": log_probs.gather(1, index)[:, 0].exp().tolist()})

        seen: list[float] = self._answer([*question, next_ids], ask)["seen"].to_list()
        return seen

    def _answer(self, question: list[Any], ask: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        digest = new_checksum(json.dumps(question).encode()).hexdigest()
        path = self._journal / f"answer-{digest}.parquet"
        return saved_parquet(path, ask)
