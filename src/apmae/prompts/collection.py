"""One quota's candidates, and the balanced draw among them."""

from __future__ import annotations

from collections import Counter

from apmae.prompts.candidates import ENCODER, STUDY, Candidate, Outcome, Quota
from apmae.study.config import StudyConfig

SURE = 0.9
"""Probability of the true token in a survey from which on the survey is sure that the target is correct."""

Outcomes = dict[bool | None, int]
"""Numbers of prompts by outcome; None: whatever the outcome."""


class Collection:
    """What is wanted of a quota, and what there is.

    Attributes:
        wanted: prompts to keep, by outcome.
        candidates: of all files read.
        evaluated: candidates taken as they came, by outcome: the base rate is theirs.
        searched: candidates that a survey proposed and the target ran on, by whether they had the outcome
            that they were proposed for.
        scarce: the outcome that a survey searches; None while candidates are taken as they come.
        exhausted: why no more candidates are taken, if so.
    """

    def __init__(self, quota: Quota, wanted: Outcomes, per_file: int) -> None:
        self.quota = quota
        self.wanted = wanted
        self.candidates: list[Candidate] = []
        self.evaluated: Counter[bool | None] = Counter()
        self.searched: Counter[bool] = Counter()
        self.scarce: bool | None = None
        self.exhausted: str | None = None
        self._per_file = per_file
        self._known: Counter[bool | None] = Counter()

    @property
    def lacking(self) -> Outcomes:
        """By outcome, how many prompts fewer there are than wanted."""
        return {outcome: max(0, count - self._known[outcome]) for outcome, count in self.wanted.items()}

    @property
    def found(self) -> int:
        """Prompts of a wanted outcome, no more than wanted."""
        return sum(self.wanted.values()) - sum(self.lacking.values())

    @property
    def is_full(self) -> bool:
        """Whether every prompt that is wanted can be drawn."""
        return not any(self.lacking.values()) and len(self.draw()) == sum(self.wanted.values())

    @property
    def tried(self) -> int:
        """Candidates that the target ran on or that a survey saw."""
        return sum(each.outcome is not None or each.seen is not None for each in self.candidates)

    @property
    def missed(self) -> tuple[int, int]:
        """Candidates that came with the scarce outcome: not proposed by the survey, and all that it saw."""
        came = [each for each in self.candidates if each.correct is self.scarce and not each.searched]
        seen = [self._believed(each) for each in came if each.seen is not None]
        return sum(believed is not self.scarce for believed in seen), len(seen)

    def record(self, candidate: Candidate, outcome: Outcome) -> None:
        """Take down what the target made of a candidate."""
        proposed_for = self._believed(candidate) if candidate.searched else None
        candidate.outcome = outcome
        self._known[self._outcome(candidate)] += 1
        if candidate.searched:
            self.searched[proposed_for is candidate.correct] += 1
        else:
            self.evaluated[self._outcome(candidate)] += 1

    def draw(self, *, believing: bool = False) -> list[Candidate]:
        """Of every outcome as many as wanted, by smallest key; at most `per_file` of one file.

        Args:
            believing: take candidates that the target has not run on for what a survey saw, instead of
                leaving them out.
        """
        missing = dict(self.wanted)
        of_file: Counter[str] = Counter()
        drawn = []
        for candidate in sorted(self.candidates, key=lambda candidate: (candidate.key, candidate.file)):
            known = candidate.outcome is not None
            if not known and not (believing and candidate.seen is not None):
                continue
            outcome = self._outcome(candidate) if known else self._believed(candidate)
            if missing.get(outcome, 0) and of_file[candidate.file] < self._per_file:
                missing[outcome] -= 1
                of_file[candidate.file] += 1
                drawn.append(candidate)
        return drawn

    def _outcome(self, candidate: Candidate) -> bool | None:
        return None if None in self.wanted else candidate.correct

    def _believed(self, candidate: Candidate) -> bool:
        """The outcome that a survey leads to expect: the scarce one, unless the survey is sure of the other.

        So nearly all candidates of the scarce outcome are proposed, and not only the clearest ones.
        """
        assert candidate.seen is not None
        assert self.scarce is not None
        return candidate.seen > 1 - SURE if self.scarce else candidate.seen >= SURE


def collections_of(config: StudyConfig) -> dict[Quota, Collection]:
    """What a study wants: encoder prompts, and half and half of every task."""
    prompts = config.prompts
    wanted: dict[Quota, Outcomes] = {Quota(ENCODER, "random"): {None: prompts.encoder_prompts}}
    for task in prompts.tasks:
        half = prompts.per_task // 2
        wanted[Quota(STUDY, task)] = (
            {None: prompts.per_task} if task == "noise" else {True: half, False: half}
        )
    return {quota: Collection(quota, outcomes, prompts.per_file) for quota, outcomes in wanted.items()}
