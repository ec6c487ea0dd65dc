"""A fitted classifier of tokens: what it says of others, which heads moved it, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress, silent
from apmae.prediction.protocols import group_numbers
from apmae.stages import stage_named
from apmae.token_study.columns import Tokens, inputs_of
from apmae.token_study.models import Inputs, TokenClassifier, fit, new_model, predict, tensors
from apmae.vocabulary import TokenModel


def key_of_classifiers(key: str) -> str:
    """The key of work that classifiers of this version make of what has `key`."""
    return f"{key}-{stage_named('token_predictor').version}"


@dataclass(frozen=True)
class TokenPredictor:
    """A classifier with the names of what it is made of.

    Attributes:
        features: what it looks at, see `apmae.token_study.columns`.
        model: its kind.
        classifier: the network, fitted.
    """

    features: str
    model: TokenModel
    classifier: TokenClassifier

    @classmethod
    def fit(
        cls,
        tokens: Tokens,
        rows: NDArray[np.int64],
        features: str,
        model: TokenModel,
        seed: int,
        progress: Progress = silent,
    ) -> Self:
        """Fit a classifier on some rows, see `apmae.token_study.models.fit`."""
        table = tokens.table[rows]
        classifier = fit(
            model,
            inputs_of(tokens, features, rows, rows),
            table["correct"].to_numpy(),
            table["weight"].to_numpy().astype(np.float64),
            group_numbers(table),
            seed,
            progress,
        )
        return cls(features, model, classifier)

    def log_odds(self, inputs: Inputs) -> NDArray[np.float64]:
        """(N,) log-odds that the predicted token is correct, at the base rate of all tokens."""
        return predict(self.classifier, inputs)

    def explain(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-odds, and what every head adds to them.

        Returns:
            (N,) log-odds as `log_odds` gives them, and (N, L * H) how much each head moves them, to first
            order; no columns without heads. That is gradient times distance from the training mean, added up
            over a head's features: the SHAP value where the classifier is linear, and a part of its change
            elsewhere (Shrikumar et al. 2016, arXiv 1605.01713).
        """
        plain, heads = tensors(inputs)
        if heads is None or self.classifier.heads is None:
            return self.log_odds(inputs), np.empty((len(inputs), 0))
        heads.requires_grad_()
        with torch.enable_grad():
            log_odds = self.classifier(plain, heads)
            (gradient,) = torch.autograd.grad(log_odds.sum(), heads)
        moved: Tensor = (gradient * (heads - self.classifier.heads.mean)).sum(-1)
        return log_odds.detach().double().numpy(), moved.detach().double().numpy()

    def save(self, directory: Path) -> None:
        """Write `<features>.safetensors` and `<features>.json`."""
        shape = {
            "model": self.model,
            "plain_columns": len(self.classifier.plain.mean),
            "heads": None if self.classifier.heads is None else list(self.classifier.heads.mean.shape),
        }
        (directory / f"{self.features}.json").write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
        save_file(self.classifier.state_dict(), directory / f"{self.features}.safetensors")

    @classmethod
    def load(cls, directory: Path, features: str) -> Self:
        """Read what `save` wrote.

        Raises:
            ApmaeError: it is not there.
        """
        path = directory / f"{features}.json"
        if not path.exists():
            raise ApmaeError(
                f"{directory.parent} has no predictor of tokens: set tokens.windows and run "
                "`apmae tokens` and `apmae token_predictor`"
            )
        shape = json.loads(path.read_text(encoding="utf-8"))
        heads = None if shape["heads"] is None else np.zeros((1, *shape["heads"]), np.float32)
        empty = Inputs(np.zeros((1, shape["plain_columns"]), np.float32), heads)
        classifier = new_model(shape["model"], empty)
        classifier.load_state_dict(load_file(path.with_suffix(".safetensors")))
        return cls(features, shape["model"], classifier.eval())
