"""Classifiers of tokens: is the predicted token correct? Linear, a perceptron, and heads as tokens.

All are fitted by the same loop: AdamW on the weighted log-loss. It stops when the loss on left-out groups has
not fallen for some epochs, and keeps the weights of the best epoch.

Shape suffixes: N rows, F columns, L layers, H heads of a layer, S features of a head, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor, nn

from apmae.common.progress import Progress, silent
from apmae.vocabulary import TokenModel

BATCH_ROWS = 256
EPOCHS = 100
PATIENCE = 4
VALIDATION_GROUPS = 0.15
LEARNING_RATES = {"linear": 5e-3, "mlp": 3e-4, "heads": 1e-3}
WEIGHT_DECAY = 0.05
DROPOUT = {"mlp": 0.5, "heads": 0.2}
HEADS_DROPOUT = 0.7
"""Of the perceptron's columns of heads, which are many."""
READINGS = 2
"""Weighted means over all heads that the perceptron sees of each feature. Where it sees every head's columns
side by side, it is worse than one without heads on few labels (docs/lab-notes.md)."""
WIDTH = {"mlp": 256, "heads": 64}
BLOCKS = 2


@dataclass(frozen=True)
class Inputs:
    """What a classifier sees of tokens.

    Attributes:
        plain: (N, F) float, columns that belong to no head; F may be 0.
        heads: (N, L * H, S) float, the features of every head; None without heads.
    """

    plain: NDArray[np.floating]
    heads: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.plain)

    def take(self, rows: NDArray[np.int64]) -> Inputs:
        """Some rows."""
        return Inputs(self.plain[rows], None if self.heads is None else self.heads[rows])


class Standardised(nn.Module):
    """Columns of mean 0 and standard deviation 1 in the training rows, clamped to 5 standard deviations."""

    def __init__(self, rows: NDArray[np.floating]) -> None:
        super().__init__()
        values = rows.astype(np.float32)
        self.mean = nn.Buffer(torch.from_numpy(values.mean(0)))
        self.scale = nn.Buffer(torch.from_numpy(values.std(0)).clamp(min=1e-4))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows, standardised."""
        return ((rows - self.mean) / self.scale).clamp(-5, 5)


class TokenClassifier(nn.Module, ABC):
    """Log-odds that the predicted token is correct.

    Attributes:
        plain: standardises the columns that belong to no head.
        heads: standardises the heads' features; None without heads.
    """

    plain: Standardised
    heads: Standardised | None

    @abstractmethod
    def forward(self, plain_NF: Tensor, heads_NHS: Tensor | None) -> Tensor:
        """(N,) log-odds."""


class LinearClassifier(TokenClassifier):
    """A linear layer over all columns."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.plain = Standardised(inputs.plain)
        self.heads = None if inputs.heads is None else Standardised(inputs.heads)
        of_heads = 0 if inputs.heads is None else int(np.prod(inputs.heads.shape[1:]))
        self.layer = nn.Linear(inputs.plain.shape[1] + of_heads, 1)

    def forward(self, plain_NF: Tensor, heads_NHS: Tensor | None) -> Tensor:  # noqa: D102
        columns = [self.plain(plain_NF)]
        if self.heads is not None and heads_NHS is not None:
            columns.append(self.heads(heads_NHS).flatten(1))
        log_odds: Tensor = self.layer(torch.cat(columns, 1))[:, 0]
        return log_odds


class Perceptron(TokenClassifier):
    """Two hidden layers over the plain columns and a few weighted means of each feature over the heads.

    The weights are learned, begin near those of the plain mean, and may mix features.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        hidden, columns = WIDTH["mlp"], inputs.plain.shape[1]
        self.plain = Standardised(inputs.plain)
        self.heads = None if inputs.heads is None else Standardised(inputs.heads)
        self.dropout = nn.Dropout(HEADS_DROPOUT)
        if inputs.heads is not None:
            _, heads, features = inputs.heads.shape
            self.readings = nn.Linear(heads * features, READINGS * features, bias=False)
            columns += READINGS * features
            weights = (1 + torch.randn(READINGS, features, heads)) / heads
            same_feature = torch.eye(features)[:, None]
            of_reading = (weights[..., None] * same_feature).flatten(2)  # zero for other features
            self.readings.weight.data.copy_(of_reading.flatten(0, 1))
        self.layers = nn.Sequential(
            *_hidden(columns, hidden, DROPOUT["mlp"]),
            *_hidden(hidden, hidden, DROPOUT["mlp"]),
            nn.Linear(hidden, 1),
        )

    def forward(self, plain_NF: Tensor, heads_NHS: Tensor | None) -> Tensor:  # noqa: D102
        columns = [self.plain(plain_NF)]
        if self.heads is not None and heads_NHS is not None:
            columns.append(self.readings(self.dropout(self.heads(heads_NHS).flatten(1))))
        log_odds: Tensor = self.layers(torch.cat(columns, 1))[:, 0]
        return log_odds


class HeadsAsTokens(TokenClassifier):
    """A transformer over the heads of one token, each embedded with its layer and its place in it.

    The mean over the heads joins the plain columns, and a perceptron reads both.
    """

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        assert inputs.heads is not None, "this model needs heads"
        width, (_, heads, features) = WIDTH["heads"], inputs.heads.shape
        self.plain = Standardised(inputs.plain)
        self.heads = Standardised(inputs.heads)
        self.embedding = nn.Linear(features, width)
        self.place = nn.Parameter(0.02 * torch.randn(heads, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, DROPOUT["heads"], "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, BLOCKS, nn.LayerNorm(width), enable_nested_tensor=False)
        columns = width + inputs.plain.shape[1]
        self.layers = nn.Sequential(
            *_hidden(columns, WIDTH["mlp"], DROPOUT["heads"]), nn.Linear(WIDTH["mlp"], 1)
        )

    def forward(self, plain_NF: Tensor, heads_NHS: Tensor | None) -> Tensor:  # noqa: D102
        assert self.heads is not None and heads_NHS is not None
        tokens_NHD = self.blocks(self.embedding(self.heads(heads_NHS)) + self.place)
        log_odds: Tensor = self.layers(torch.cat([tokens_NHD.mean(1), self.plain(plain_NF)], 1))[:, 0]
        return log_odds


def new_model(name: TokenModel, inputs: Inputs) -> TokenClassifier:
    """An unfitted classifier of such inputs, standardised as these are."""
    return _MODELS[name](inputs)


def fit(
    name: TokenModel,
    inputs: Inputs,
    correct: NDArray[np.bool_],
    weights: NDArray[np.floating],
    groups: NDArray[np.int64],
    seed: int,
    progress: Progress = silent,
) -> TokenClassifier:
    """Fit a classifier of tokens.

    Args:
        correct, weights: (N,) outcomes, and how much each counts.
        groups: (N,) numbers of their groups; some groups are left out to stop early.
        seed: of the weights, the order of the rows and the groups left out.
        progress: over the epochs, of which early stopping may leave out most.
    """
    generator = np.random.default_rng(seed)
    fitted, validation = leave_groups_out(groups, generator)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = new_model(name, inputs.take(fitted))
        begin_at(model, float(np.average(correct[fitted], weights=weights[fitted])))
        optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATES[name], weight_decay=WEIGHT_DECAY)
        losses: list[float] = []
        kept = model.state_dict()

        def status() -> str:
            return f"loss on left-out groups {min(losses):.4f}" if losses else ""

        for _ in progress(range(EPOCHS), f"epochs of {name}", status=status):
            model.train()
            for rows in np.array_split(generator.permutation(fitted), -(-len(fitted) // BATCH_ROWS)):
                loss = _loss(model, inputs.take(rows), correct[rows], weights[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            log_odds = predict(model, inputs.take(validation))
            losses.append(log_loss(correct[validation], log_odds, weights[validation]))
            since_best = len(losses) - 1 - int(np.argmin(losses))
            if since_best == 0:
                kept = {key: value.clone() for key, value in model.state_dict().items()}
            elif since_best == PATIENCE:
                break
    model.load_state_dict(kept)
    return model.eval()


@torch.inference_mode()
def predict(model: nn.Module, inputs: Inputs) -> NDArray[np.float64]:
    """(N,) log-odds that the predicted token is correct."""
    model.eval()
    pieces = np.array_split(np.arange(len(inputs)), max(1, -(-len(inputs) // BATCH_ROWS)))
    return np.concatenate([model(*tensors(inputs.take(rows))).double().numpy() for rows in pieces])


def _loss(
    model: nn.Module, inputs: Inputs, correct: NDArray[np.bool_], weights: NDArray[np.floating]
) -> Tensor:
    labels, weight = torch.from_numpy(correct).float(), torch.from_numpy(weights).float()
    losses = nn.functional.binary_cross_entropy_with_logits(model(*tensors(inputs)), labels, reduction="none")
    loss: Tensor = (losses * weight).sum() / weight.sum()
    return loss


def leave_groups_out(
    groups: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on, and rows of the drawn groups that say when to stop."""
    names = np.unique(groups)
    left_out = generator.permutation(names)[: max(1, round(VALIDATION_GROUPS * len(names)))]
    is_left_out = np.isin(groups, left_out)
    return np.flatnonzero(~is_left_out), np.flatnonzero(is_left_out)


def log_loss(
    correct: NDArray[np.bool_], log_odds: NDArray[np.float64], weights: NDArray[np.floating] | None = None
) -> float:
    """Mean logarithmic loss of log-odds, nats; rows count alike without weights."""
    sign = np.where(correct, 1, -1)
    return float(np.average(np.logaddexp(0, -sign * log_odds), weights=weights))


def begin_at(model: nn.Module, rate: float) -> None:
    """Let a model predict the rate of correct tokens before it has learned."""
    output = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.zeros_(output.weight)
    nn.init.constant_(output.bias, float(logit(np.clip(rate, 1e-3, 1 - 1e-3))))


def tensors(inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """Float32 tensors of the plain columns and of the heads."""
    plain = torch.from_numpy(inputs.plain.astype(np.float32))
    return plain, None if inputs.heads is None else torch.from_numpy(inputs.heads.astype(np.float32))


_MODELS: Mapping[TokenModel, Callable[[Inputs], TokenClassifier]] = {
    "linear": LinearClassifier,
    "mlp": Perceptron,
    "heads": HeadsAsTokens,
}


def _hidden(inputs: int, outputs: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.GELU(), nn.Dropout(dropout)
