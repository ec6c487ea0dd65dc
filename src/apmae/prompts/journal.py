"""The target's answers, each kept in a journal.

Mining asks the target in an order that depends on the corpus, the config and the answers before. So a
killed stage goes on by asking again from the start: what the journal has is read, and the target runs on
the rest, in the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import polars as pl
import torch
from torch import Tensor

from apmae.common.atomic import write_parquet
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
        self._asked = 0

    def outcomes(self, batch: Sequence[Candidate]) -> list[Outcome]:
        """Outcomes of the candidates' own prompts, in one forward pass; `correct` is None for noise."""

        def ask() -> pl.DataFrame:
            logits = self._target.logits([candidate.input_ids for candidate in batch])
            next_ids = [candidate.next_id or 0 for candidate in batch]
            found = outcomes(logits, torch.tensor(next_ids, device=logits.device))
            table = pl.DataFrame({name: values.tolist() for name, values in found._asdict().items()})
            known = pl.Series([candidate.next_id is not None for candidate in batch])
            return table.with_columns(
                pl.when(known).then(name).alias(name) for name in ("correct", "next_token_probability")
            )

        return self._answer(ask, len(batch)).to_dicts()

    def seen_in_window(self, window: Window, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by one pass over their window."""
        places = [each.place for each in candidates if isinstance(each.place, int)]
        before = [len(window.leading_ids) + place - 1 for place in places]
        return self._seen(
            candidates, lambda: self._target.logits_at(window.input_ids[: max(before) + 1], before)
        )

    def seen_in_short(self, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true token, by its short prompt."""
        short = [each.short for each in candidates if each.short is not None]
        return self._seen(candidates, lambda: self._target.logits(short))

    def _seen(self, candidates: Sequence[Candidate], logits: Callable[[], Tensor]) -> list[float]:
        def ask() -> pl.DataFrame:
            log_probs = logits().log_softmax(-1)
            next_ids = torch.tensor([[each.next_id or 0] for each in candidates], device=log_probs.device)
            return pl.DataFrame({"seen": log_probs.gather(1, next_ids)[:, 0].exp().tolist()})

        seen: list[float] = self._answer(ask, len(candidates))["seen"].to_list()
        return seen

    def _answer(self, ask: Callable[[], pl.DataFrame], rows: int) -> pl.DataFrame:
        path = self._journal / f"answer-{self._asked:06d}.parquet"
        self._asked += 1
        if path.exists():
            answer = pl.read_parquet(path)
        else:
            answer = ask()
            write_parquet(path, answer)
        assert answer.height == rows, "the journal is of another run"
        return answer
