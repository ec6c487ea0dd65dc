"""One quota's candidates, and the balanced draw among them.

The draw keeps as many candidates of each outcome as are wanted. Files and packages differ in how often the
target is correct, so a draw that took each half by itself would let them tell correct from incorrect. The
draw therefore matches the halves: it takes *pairs*, a correct and an incorrect candidate of one file, or of
one package where a file has no partner left, and fills up with single candidates only when there are no more
pairs. Pairs and single candidates are taken by smallest key, so the draw is uniform over all files read.

Where both outcomes are frequent there are enough candidates of each before there are enough pairs. The search
for pairs then goes on, within reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from apmae.prompts.candidates import ENCODER, STUDY, Candidate, Outcome, Quota
from apmae.study.config import StudyConfig

SURE = 0.9
"""Probability of the true token in a survey from which on the survey is sure that the target is correct."""

TRIES_FOR_PAIRS = 3
"""Candidates tried per prompt wanted, after which the draw may hold single candidates."""

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
    def total(self) -> int:
        """Prompts wanted, of all outcomes."""
        return sum(self.wanted.values())

    @property
    def lacking(self) -> Outcomes:
        """By outcome, how many prompts fewer there are than wanted."""
        return {outcome: max(0, count - self._known[outcome]) for outcome, count in self.wanted.items()}

    @property
    def found(self) -> int:
        """Prompts of a wanted outcome, no more than wanted."""
        return self.total - sum(self.lacking.values())

    @property
    def is_full(self) -> bool:
        """Whether all prompts can be drawn, and in pairs unless these were searched long enough."""
        if any(self.lacking.values()) or len(drawn := self.draw()) < self.total:
            return False
        tried_enough = None in self.wanted or self.tried >= TRIES_FOR_PAIRS * self.total
        return tried_enough or matched(drawn) == self.total

    @property
    def tried(self) -> int:
        """Candidates that the target ran on or, of what a survey searches, that it saw.

        A survey for other quotas may see candidates of this one too, which nobody then proposes.
        """
        searches = self.scarce is not None
        return sum(
            each.outcome is not None or (searches and each.seen is not None) for each in self.candidates
        )

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
        """Of every outcome as many as wanted, matched within packages.

        A file gives at most `per_file` of each outcome.

        Args:
            believing: take candidates that the target has not run on for what a survey saw, instead of
                leaving them out.

        Returns:
            The candidates by key.
        """
        by_outcome: dict[bool | None, list[Candidate]] = {outcome: [] for outcome in self.wanted}
        of_file: Counter[tuple[str, bool | None]] = Counter()
        for candidate in sorted(self.candidates, key=_by_key):
            known = candidate.outcome is not None
            if not known and not (believing and candidate.seen is not None):
                continue
            outcome = self._outcome(candidate) if known else self._believed(candidate)
            if outcome in by_outcome and of_file[candidate.file, outcome] < self._per_file:
                of_file[candidate.file, outcome] += 1
                by_outcome[outcome].append(candidate)
        first = _pairs_first(by_outcome) if len(by_outcome) == 2 else by_outcome
        drawn = [each for outcome, count in self.wanted.items() for each in first[outcome][:count]]
        return sorted(drawn, key=_by_key)

    def _outcome(self, candidate: Candidate) -> bool | None:
        return None if None in self.wanted else candidate.correct

    def _believed(self, candidate: Candidate) -> bool:
        """The outcome that a survey leads to expect: the scarce one, unless the survey is sure of the other.

        So nearly all candidates of the scarce outcome are proposed, and not only the clearest ones.
        """
        assert candidate.seen is not None
        assert self.scarce is not None
        return candidate.seen > 1 - SURE if self.scarce else candidate.seen >= SURE


def matched(drawn: Iterable[Candidate]) -> int:
    """How many prompts of a draw have a partner: one of the other outcome, of the same package."""
    of_group = Counter((candidate.group, candidate.correct) for candidate in drawn)
    return sum(
        2 * min(of_group[group, True], of_group[group, False]) for group in {name for name, _ in of_group}
    )


def _by_key(candidate: Candidate) -> tuple[float, str]:
    return candidate.key, candidate.file


def _pairs_first(by_outcome: dict[bool | None, list[Candidate]]) -> dict[bool | None, list[Candidate]]:
    """Each outcome's candidates: those in pairs, the n-th pair of both at place n, then the single ones.

    Args:
        by_outcome: candidates of two outcomes, each by key.
    """
    pairs = sorted(_pairs(*by_outcome.values()), key=lambda pair: max(map(_by_key, pair)))
    columns = zip(*pairs, strict=True) if pairs else ((), ())
    paired = dict(zip(by_outcome, map(list, columns), strict=True))
    taken = {id(each) for pair in pairs for each in pair}
    return {
        outcome: paired[outcome] + [each for each in candidates if id(each) not in taken]
        for outcome, candidates in by_outcome.items()
    }


def _pairs(*halves: Iterable[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    """The n-th candidates of each half in each file, then of what is left in each package."""
    left = [list(half) for half in halves]
    for name in ("file", "group"):
        pairs = list(_pairs_within(name, left))
        yield from pairs
        taken = {id(each) for pair in pairs for each in pair}
        left = [[each for each in half if id(each) not in taken] for half in left]


def _pairs_within(name: str, halves: Sequence[list[Candidate]]) -> Iterator[tuple[Candidate, ...]]:
    """The n-th candidates of each half in each file or group, for every n that all halves have."""
    places: list[dict[str, list[Candidate]]] = []
    for half in halves:
        by_place = defaultdict(list)
        for candidate in half:
            by_place[getattr(candidate, name)].append(candidate)
        places.append(by_place)
    for place in places[0].keys() & places[1].keys():
        yield from zip(*(by_place[place] for by_place in places), strict=False)


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
