"""One quota's candidates, and the balanced draw among them."""

from __future__ import annotations

from collections import Counter

from apmae.config import StudyConfig
from apmae.mining.candidates import ENCODER, STUDY, Candidate, Quota

Outcomes = dict[bool | None, int]
"""Numbers of prompts by outcome; None: whatever the outcome."""


class Collection:
    """What is wanted of a quota, and what there is.

    Attributes:
        wanted: prompts to keep, by outcome.
        candidates: of all files read.
        evaluated: candidates taken as they came, by outcome: the base rate is theirs.
        searched: candidates that the target ran on because the survey had seen their outcome.
        searching: whether the survey proposes what is run next.
        exhausted: why no more candidates are taken, if so.
    """

    def __init__(self, quota: Quota, wanted: Outcomes, per_file: int) -> None:
        self.quota = quota
        self.wanted = wanted
        self.candidates: list[Candidate] = []
        self.evaluated: Counter[bool | None] = Counter()
        self.searched = 0
        self.searching = False
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
        return sum(candidate.believed_correct is not None for candidate in self.candidates)

    def record(self, candidate: Candidate, outcome: dict[str, object]) -> None:
        """Take down what the target made of a candidate."""
        candidate.outcome = outcome
        self._known[self._outcome(candidate)] += 1
        if candidate.searched:
            self.searched += 1
        else:
            self.evaluated[self._outcome(candidate)] += 1

    def draw(self, *, believing: bool = False) -> list[Candidate]:
        """Of every outcome as many as wanted, by smallest key; at most `per_file` of one file.

        Args:
            believing: take a candidate that the target has not run on for what the survey saw, instead of
                leaving it out.
        """
        missing = dict(self.wanted)
        of_file: Counter[str] = Counter()
        drawn = []
        for candidate in sorted(self.candidates, key=lambda candidate: (candidate.key, candidate.file)):
            outcome = self._outcome(candidate)
            known = candidate.outcome is not None or (believing and candidate.seen is not None)
            if known and missing.get(outcome, 0) and of_file[candidate.file] < self._per_file:
                missing[outcome] -= 1
                of_file[candidate.file] += 1
                drawn.append(candidate)
        return drawn

    def _outcome(self, candidate: Candidate) -> bool | None:
        return None if None in self.wanted else candidate.believed_correct


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
