"""The target's answers, each kept in a journal.

Mining asks the target in an order that depends on the corpus, the config and the answers before. So a
killed stage goes on by asking again from the start: what the journal has is read, and the target runs on
the rest, in the same batches. An answer's file is named by its question, so that a run that asks in another
order, as another version may, takes no answer for another's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import torch
from torch import Tensor

from apmae.common.atomic import saved_parquet
from apmae.common.checksum import new_checksum
from apmae.prompts.candidates import Candidate, Outcome, Window
from apmae.target_model import Completions, Target, outcomes

NO_TRUTH = (0,)
"""Stands for the true tokens of noise, which has none."""


class Answers(Protocol):
    """What mining asks of a target."""

    def outcomes(self, batch: Sequence[Candidate]) -> list[Outcome]:
        """Outcomes of the candidates' own prompts."""
        ...

    def seen_in_window(self, window: Window, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true tokens, by one pass over their window."""
        ...

    def seen_in_short(self, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true tokens, by its short prompt."""
        ...


class TargetAnswers:
    """Answers of a target, with a journal in a directory."""

    def __init__(self, target: Target, journal: Path) -> None:
        self._target = target
        self._journal = journal

    def outcomes(self, batch: Sequence[Candidate]) -> list[Outcome]:
        """Outcomes of the candidates' own prompts, in one forward pass; `correct` is None for noise."""
        input_ids = [candidate.input_ids for candidate in batch]
        true_ids = [candidate.true_ids or NO_TRUTH for candidate in batch]

        def ask() -> pl.DataFrame:
            completions = Completions.of(input_ids, true_ids)
            logits = self._target.logits_at(completions.input_ids, completions.positions)
            found = outcomes(logits[:, 0], completions.true_ids[:, 0].to(logits.device))
            found = found._replace(correct=completions.written(logits))
            table = pl.DataFrame({name: values.tolist() for name, values in found._asdict().items()})
            known = pl.Series([bool(candidate.true_ids) for candidate in batch])
            return table.with_columns(
                pl.when(known).then(name).alias(name) for name in ("correct", "next_token_probability")
            )

        return self._answer(["outcomes", input_ids, true_ids], ask).to_dicts()

    def seen_in_window(self, window: Window, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true tokens, as far as the window goes, by one pass over it."""
        before, length = len(window.leading_ids) - 1, window.length_tokens
        places = [
            range(before + each.place, min(before + each.place + len(each.true_ids), length))
            for each in candidates
            if isinstance(each.place, int)
        ]
        positions = sorted(set(chain.from_iterable(places)))
        input_ids = window.input_ids[: positions[-1] + 1]
        row_of = {position: row for row, position in enumerate(positions)}
        rows = [[row_of[position] for position in of_hole] for of_hole in places]

        def see() -> Tensor:
            log_probs = self._target.logits_at([input_ids], positions)[0].log_softmax(-1)
            seen = [
                log_probs[of_hole, list(each.true_ids[: len(of_hole)])].sum()
                for of_hole, each in zip(rows, candidates, strict=True)
            ]
            return torch.stack(seen)

        return self._seen(["window", input_ids, rows], candidates, see)

    def seen_in_short(self, candidates: Sequence[Candidate]) -> list[float]:
        """Probability of each candidate's true tokens, by its short prompt."""
        short = [list(each.short) for each in candidates if each.short is not None]

        def see() -> Tensor:
            completions = Completions.of(short, [each.true_ids for each in candidates])
            logits = self._target.logits_at(completions.input_ids, completions.positions)
            return completions.log_probability(logits)

        return self._seen(["short", short], candidates, see)

    def _seen(
        self, question: list[Any], candidates: Sequence[Candidate], see: Callable[[], Tensor]
    ) -> list[float]:
        true_ids = [list(each.true_ids) for each in candidates]
        table = self._answer([*question, true_ids], lambda: pl.DataFrame({"seen": see().exp().tolist()}))
        seen: list[float] = table["seen"].to_list()
        return seen

    def _answer(self, question: list[Any], ask: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        digest = new_checksum(json.dumps(question).encode()).hexdigest()
        path = self._journal / f"answer-{digest}.parquet"
        return saved_parquet(path, ask)
