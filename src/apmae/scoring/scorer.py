"""Scores of single prompts, by the predictors that a study's predict stage left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.common.errors import ApmaeError
from apmae.encoding.encoders import load_encoder
from apmae.encoding.forward import encode_patches, patch_statistics, run_batch
from apmae.prediction import PassFeatures, Predictor, load_predictors
from apmae.prediction.features import CONFIDENCE, Blocks, take
from apmae.prediction.metrics import Values
from apmae.prompts import PromptFormatter
from apmae.prompts.formats import hole_sentinel, tokens_before_hole
from apmae.study import Study
from apmae.study.artifacts import BEFORE_HOLE, ENCODER, STATISTICS
from apmae.target_model import Outcomes, Target, outcomes
from apmae.vocabulary import blocks_in

TOP_HEADS = 3

PromptIds = Sequence[int] | NDArray[Any] | Tensor
"""(tokens,) token ids."""


class HeadContribution(NamedTuple):
    """What a head adds to the log-odds that the completion is correct, beside what it adds on average."""

    layer: int
    head: int
    log_odds: float


class Score(NamedTuple):
    """What is predicted of one prompt's completion.

    Attributes:
        probability: calibrated, that the predicted token is correct, at the task's base rate.
        predicted_id: the target's most probable next token.
        max_probability: what the target itself gives that token, uncalibrated.
        confidence: what its confidence alone says, through the same calibration as `probability`.
        heads: the heads that moved the probability most, in order.
    """

    probability: float
    predicted_id: int
    max_probability: float
    confidence: float
    heads: tuple[HeadContribution, ...]


class Scorer:
    """Predicts whether a target completes prompts correctly.

    Attributes:
        study: whose predictors these are.
        target: its target model.
        tasks: tasks that have a predictor, in the study's order.
        formatter: makes prompts of the study's format and length.
        length_tokens: tokens of a prompt.
    """

    def __init__(self, study: Study, target: Target) -> None:
        """Read a study's predictors.

        Raises:
            ApmaeError: the study is not finished, or has none.
        """
        self.study = study
        self.target = target
        prompts = study.config.prompts
        self.formatter = PromptFormatter(
            target.tokenizer, prompts.format, prompts.length_tokens, prompts.outcome
        )
        self.length_tokens = study.config.prompts.length_tokens
        self._hole_sentinel = hole_sentinel(target.tokenizer, study.config.prompts.format)
        self._by_confidence = load_predictors(study, CONFIDENCE)
        found = load_predictors(study)
        self._predictors = {task: found[task] for task in found if task in self._by_confidence}
        self._blocks = dict.fromkeys((*blocks_in(study.config.prediction.scorer), CONFIDENCE))
        self._detectors = [name for name in study.config.encoding.detectors if name in self._blocks]
        self._encoder: APMAEModel | None = None
        if any(block.endswith("_encodings") for block in self._blocks):
            self._encoder = load_encoder(study, target.device)
        self._patch_size = int(APMAEConfig.from_pretrained(study.path(ENCODER)).patch_size)

    @classmethod
    def load(cls, directory: str | Path, trust_remote_code: bool = False) -> Self:
        """Read the study that lies in `directory`, and load its target.

        Args:
            trust_remote_code: whether the target may bring code of its own; the study's own word for it does
                not count.

        Raises:
            ApmaeError: there is no finished study, or its target cannot be loaded or has other weights than
                the one that was studied.
        """
        study = Study.open(directory, trust_remote_code)
        study.require_finished("predict")
        load_predictors(study)  # before the target, which takes longer
        return cls(study, studied_target(study))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a predictor, in the study's order."""
        return tuple(self._predictors)

    def score(self, input_ids: PromptIds, task: str) -> Score:
        """Score the token that the target predicts after `input_ids`.

        Of a longer prompt the last `length_tokens` count, behind what the tokenizer puts first.

        Args:
            input_ids: (tokens,) token ids.
            task: what kind of hole this is, one of `tasks`.

        Raises:
            ApmaeError: the prompt is too short, or longer in a fill-in-the-middle study; or there is no
                such task.
        """
        return self.score_batch([input_ids], [task])[0]

    def score_batch(self, prompts: Sequence[PromptIds], tasks: Sequence[str]) -> list[Score]:
        """Score several prompts, each with its task, in one forward pass."""
        assert len(prompts) == len(tasks), "every prompt has a task"
        if not prompts:
            return []
        for task in tasks:
            self.require_task(task)
        outcome, blocks = self._run([self._fitted(prompt) for prompt in prompts])
        return [self._scored(task, row, outcome, blocks) for row, task in enumerate(tasks)]

    def require_task(self, task: str) -> None:
        """Refuse a task without a predictor."""
        if task not in self._predictors:
            raise ApmaeError(
                f"{self.study.directory} has no scorer of {task}; there are: {', '.join(self.tasks)}"
            )

    def _scored(self, task: str, row: int, outcome: Mapping[str, NDArray[Any]], blocks: Blocks) -> Score:
        predictor: Predictor = self._predictors[task]
        of_row = take(blocks, np.array([row]))
        (contributions,) = predictor.head_contributions(of_row, len(self.target.heads))
        return Score(
            probability=float(expit(predictor.log_odds(of_row)[0])),
            predicted_id=int(outcome["predicted_id"][row]),
            max_probability=float(outcome["max_probability"][row]),
            confidence=float(expit(self._by_confidence[task].log_odds(of_row)[0])),
            heads=top_heads(contributions, self.target.n_heads),
        )

    def _run(self, input_ids: list[list[int]]) -> tuple[dict[str, NDArray[Any]], Blocks]:
        """Outcomes by name, and blocks, of one forward pass."""
        logits, (arrays,) = run_batch(
            self.target, input_ids, self._patch_size, [self._encode], self._detectors
        )
        unknown = torch.zeros(len(input_ids), dtype=torch.int64, device=logits.device)
        found: Outcomes = outcomes(logits, unknown)
        columns = {name: values.cpu().numpy() for name, values in found._asdict().items()}
        columns["next_token_id"] = unknown.cpu().numpy()
        arrays[BEFORE_HOLE] = tokens_before_hole(np.array(input_ids), self._hole_sentinel)
        return columns, PassFeatures(arrays, columns).blocks(self._blocks)

    def _encode(self, log_patches_BHKP: Tensor) -> dict[str, Tensor]:
        if self._encoder is not None:
            encoding = self.study.config.encoding
            return encode_patches(self._encoder, log_patches_BHKP, encoding.readouts, encoding.precision)
        return {STATISTICS: patch_statistics(log_patches_BHKP, self._patch_size).to(self.target.device)}

    def _fitted(self, prompt: PromptIds) -> list[int]:
        """The prompt's token ids at the study's length."""
        ids = np.asarray(prompt)
        if ids.ndim != 1:
            raise ApmaeError(f"a prompt is a list of token ids, not of shape {ids.shape}")
        too_long = len(ids) - self.length_tokens
        if too_long < 0:
            raise ApmaeError(
                f"a prompt of {len(ids)} tokens is too short: the study's prompts have {self.length_tokens}"
            )
        if too_long and self.formatter.format == "fim":
            raise ApmaeError(
                f"a prompt of {len(ids)} tokens is too long: the study's fill-in-the-middle prompts have "
                f"{self.length_tokens}, and cannot be cut"
            )
        leading = self.formatter.leading_ids if too_long else []
        return [*leading, *ids[too_long + len(leading) :].tolist()]


def studied_target(study: Study) -> Target:
    """The target of a study, with the weights that the study ran.

    Raises:
        ApmaeError: it cannot be loaded, or has other weights now.
    """
    target = Target.from_config(study.config.target)
    markers = (study.marker(stage) or {} for stage in ("prompts", "tokens"))
    studied: dict[str, Any] = next((marker["weights"] for marker in markers if "weights" in marker), {})
    found = target.weights
    # Weights on the hub or gone have no digest, then or now: nothing is compared.
    if found is not None and found.digest and (studied.get("digest") or found.digest) != found.digest:
        raise ApmaeError(
            f"{target.name} has other weights now ({found.summary}) than in {study.directory} "
            f"({studied['summary']}): run the study again, or name the studied weights in target.model"
        )
    return target


def top_heads(log_odds: Values, n_heads: int) -> tuple[HeadContribution, ...]:
    """The three heads with the largest contributions, in order.

    Args:
        log_odds: (layers * heads,) what every head adds, by layer.
        n_heads: heads of a layer.
    """
    top = np.argsort(-np.abs(log_odds), kind="stable")[:TOP_HEADS].tolist()
    return tuple(HeadContribution(index // n_heads, index % n_heads, float(log_odds[index])) for index in top)
