"""Every token of a source file: whether the target would have written it, and how sure that was.

The file runs through the target in windows that overlap by `tokens.context_tokens`, so that tokens have as
much before them as the study's. Only the file's first tokens have less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, silent
from apmae.prompts import PromptFormatter
from apmae.prompts.tokenization import token_texts
from apmae.scoring.scorer import HeadContribution, studied_target, top_heads
from apmae.study import Study
from apmae.study.artifacts import TOKEN_PREDICTOR
from apmae.target_model import Target
from apmae.token_study.columns import CONFIDENCE, Tokens, arrays_of_heads, inputs_of
from apmae.token_study.measurement import ALL
from apmae.token_study.predictor import TokenPredictor
from apmae.token_study.tokens import projection, token_features, windows_at_once

FIRST = 2
"""Place of the first token that is scored; what stands before it says nothing."""


class TokenScore(NamedTuple):
    """A token of a text, what the target would have put there, and how that was predicted to be.

    Attributes:
        number: of the token in the text, from 0.
        line: that it starts on, from 1.
        text: of the token.
        probability: that the target's most probable token is the right one, from attention and confidence;
            what stands there is not looked at.
        confidence: the same from the target's confidence alone.
        written: what the target itself gives the token that stands there.
        predicted: text of its most probable token.
        correct: whether that is the token.
        heads: the heads that moved the probability most, in order.
    """

    number: int
    line: int
    text: str
    probability: float
    confidence: float
    written: float
    predicted: str
    correct: bool
    heads: tuple[HeadContribution, ...]


class ScoredText(NamedTuple):
    """A text in the pieces that its tokens are, and the scores of those that have one.

    Attributes:
        pieces: the text of every token; together they are the text.
        scores: by number of the token.
    """

    pieces: list[str]
    scores: dict[int, TokenScore]


class Judged(NamedTuple):
    """What a study's predictors say of N tokens.

    Attributes:
        probability: (N,) that the most probable token is right, from attention and confidence.
        confidence: (N,) the same from the target's confidence alone.
        head_contributions: (N, L * H) what each head adds to the log-odds.
    """

    probability: NDArray[np.float64]
    confidence: NDArray[np.float64]
    head_contributions: NDArray[np.float64]


class TokenScorer:
    """Scores texts, token by token.

    Attributes:
        study: whose predictor this is.
        target: its target model.
        project: the study's projection of hidden states.
        of_heads: what the predictor looks at of every head, see `apmae.token_study.tokens.HEAD_FEATURES`.
    """

    def __init__(self, study: Study, target: Target) -> None:
        """Read a study's predictor of tokens.

        Raises:
            ApmaeError: it has none, or one of fill-in-the-middle windows.
        """
        config = study.config
        self.study, self.target = study, target
        self._formatter = PromptFormatter(
            target.tokenizer, config.prompts.format, config.prompts.length_tokens
        )
        if self._formatter.format != "causal":
            raise ApmaeError(
                f"{study.directory} predicts tokens of fill-in-the-middle prompts: score holes with --task"
            )
        directory = study.path(TOKEN_PREDICTOR)
        self._predictor = TokenPredictor.load(directory, config.token_predictor.features)
        self._by_confidence = TokenPredictor.load(directory, CONFIDENCE)
        self.project = projection(target.hidden_size, config)
        self.of_heads = arrays_of_heads(self._predictor.features)

    @classmethod
    def load(cls, directory: str | Path, trust_remote_code: bool = False) -> Self:
        """Read the study that lies in `directory`, and load its target.

        Args:
            trust_remote_code: whether the target may bring code of its own; the study's own word for it does
                not count.

        Raises:
            ApmaeError: there is no such study, or its target cannot be loaded or has other weights.
        """
        study = Study.open(directory, trust_remote_code)
        if study.path(TOKEN_PREDICTOR).exists():
            study.require_finished("token_predictor")
        return cls(study, studied_target(study))

    @property
    def held_out_auroc(self) -> float:
        """How well the study's predictor orders the tokens of its test groups."""
        area = self.study.token_metrics.filter(
            features=self._predictor.features, syntax=ALL, metric="auroc", difference_from=""
        )
        return float(area["value"].item())

    def score(self, text: str, progress: Progress = silent, name: str = "the text") -> ScoredText:
        """Score every token of a text but the first one or two.

        Args:
            name: what the text is called in messages.

        Raises:
            ApmaeError: the text has too few tokens.
        """
        document = self._formatter.tokenize(text)
        ids = np.array(document.token_ids, dtype=np.int32)
        jobs = list(self.windows(len(ids)))
        if not jobs:
            raise ApmaeError(f"{name} is too short to score: {len(ids)} tokens")
        starts = [*document.starts, len(text)]
        pieces = [text[start:end] for start, end in pairwise(starts)]
        scores: dict[int, TokenScore] = {}
        for first, windows in progress(jobs, name):
            for score in self._run(ids, first, windows):
                number = score["number"]
                line = text.count("\n", 0, document.starts[number]) + 1
                scores.setdefault(number, TokenScore(line=line, text=pieces[number], **score))
        return ScoredText(pieces, scores)

    def judge(self, tokens: Tokens) -> Judged:
        """What the predictors say of tokens."""
        rows = np.arange(len(tokens.table))
        inputs = inputs_of(tokens, self._predictor.features, rows, rows)
        by_confidence = inputs_of(tokens, CONFIDENCE, rows, rows)
        log_odds, head_contributions = self._predictor.explain(inputs)
        confidence = self._by_confidence.log_odds(by_confidence)
        return Judged(expit(log_odds), expit(confidence), head_contributions)

    def windows(self, tokens: int) -> Iterator[tuple[int, list[range]]]:
        """Windows of a text of so many tokens, batch by batch, and from which place on each is looked at."""
        leading, config = len(self._formatter.leading_ids), self.study.config
        width, context = self._formatter.context_tokens, config.tokens.context_tokens
        if leading + tokens <= FIRST:
            return
        yield FIRST, [range(min(width, tokens))]
        step = width + leading - context
        later = [range(start, start + width) for start in range(step, tokens - width, step)]
        if tokens > width:
            later.append(range(tokens - width, tokens))
        size = windows_at_once(self.target, width + leading, step, config.target.batch_size)
        for start in range(0, len(later), size):
            yield context, later[start : start + size]

    def _run(self, ids: NDArray[np.int32], first: int, windows: Sequence[range]) -> Iterator[dict[str, Any]]:
        leading = self._formatter.leading_ids
        batch = np.array([[*leading, *ids[window.start : window.stop]] for window in windows], dtype=np.int32)
        features = token_features(self.target, batch, first, self.of_heads)
        tokens = Tokens.of_pass(features, batch, first, self.project)
        judged = self.judge(tokens)
        predicted = token_texts(self.target.tokenizer, tokens.table["predicted_id"].to_list())
        count = batch.shape[1] - first
        for row, known in enumerate(tokens.table.iter_rows(named=True)):
            window, place = divmod(row, count)
            yield {
                "number": windows[window].start + place + first - len(leading),
                "probability": float(judged.probability[row]),
                "confidence": float(judged.confidence[row]),
                "written": known["next_token_probability"],
                "predicted": predicted[row],
                "correct": known["correct"],
                "heads": top_heads(judged.head_contributions[row], self.target.n_heads),
            }
