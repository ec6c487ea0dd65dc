"""The survey: seeing many candidates for the price of few.

Its runs are not the prompts' own, so that it only proposes; whatever it proposes is run by its own prompt.
Causal: one pass over a window of a file, at each of whose holes the true token has a probability. There the
context is longer than the prompt's. Fill-in-the-middle: a prompt of `SHORT_TOKENS` tokens for each hole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from apmae.prompts.candidates import SHORT_TOKENS, Candidate, FileCandidates, Quota
from apmae.prompts.journal import Answers

SHORT_PROMPTS = 8
"""Short prompts in a pass, for each prompt of a batch: about as many tokens."""


class Survey:
    """Sees candidates, each once.

    Attributes:
        passes: length of what was run, in prompts.
    """

    def __init__(self, answers: Answers, length_tokens: int, batch_size: int) -> None:
        self.passes = 0.0
        self._answers = answers
        self._length_tokens = length_tokens
        self._short_batch = SHORT_PROMPTS * batch_size
        self._windows: list[FileCandidates] = []
        self._short: defaultdict[Quota, list[Candidate]] = defaultdict(list)

    def add(self, made: FileCandidates) -> None:
        """Remember a file's candidates."""
        if made.window is None:
            for quota, candidates in made.by_quota.items():
                self._short[quota] += [each for each in candidates if each.short is not None]
        elif any(made.by_quota.values()):
            self._windows.append(made)

    def pending(self, quotas: Iterable[Quota]) -> float:
        """What it takes to see all candidates of some quotas, in passes over a prompt."""
        windows = sum(made.window.length_tokens for made in self._windows if made.window is not None)
        short = sum(len(self._short[quota]) for quota in quotas) * SHORT_TOKENS
        return (windows + short) / self._length_tokens

    def run(self, quotas: Iterable[Quota]) -> None:
        """See all candidates of some quotas; a window shows those of the others too."""
        quotas = list(quotas)
        self.passes += self.pending(quotas)
        for made in self._windows:
            assert made.window is not None
            candidates = [candidate for each in made.by_quota.values() for candidate in each]
            _take_down(candidates, self._answers.seen_in_window(made.window, candidates))
        self._windows.clear()
        short = [candidate for quota in quotas for candidate in self._short.pop(quota, [])]
        for start in range(0, len(short), self._short_batch):
            batch = short[start : start + self._short_batch]
            _take_down(batch, self._answers.seen_in_short(batch))


def _take_down(candidates: list[Candidate], seen: list[float]) -> None:
    for candidate, probability in zip(candidates, seen, strict=True):
        candidate.seen = probability
