"""Training of a `PatternClassifier` by epochs. A killed one goes on exactly behind its last whole epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from apmae.common.progress import Progress
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.token_study.models import WEIGHT_DECAY, begin_at, leave_groups_out, log_loss
from apmae.training.checkpoint import CHECKPOINT, restore_checkpoint, save_checkpoint
from experiments.fine_tuning.network import PatternClassifier, Patterns

BATCH_PROMPTS = 16
EPOCHS = 12
PATIENCE = 2
ENCODER_RATE = 2e-4
CLASSIFIER_RATE = 1e-3
BEST = "best.safetensors"


class Labelled(NamedTuple):
    """Prompts with what is to be predicted of them.

    Attributes:
        patterns: of N prompts.
        correct: (N,) whether the target's completion is correct.
        groups: (N,) numbers of the prompts' groups.
    """

    patterns: Patterns
    correct: NDArray[np.bool_]
    groups: NDArray[np.int64]


def fit(network: PatternClassifier, labelled: Labelled, seed: int, work: Path, progress: Progress) -> None:
    """Train a network, and leave it with the weights of its best epoch.

    It stops when the log-loss on left-out groups has not fallen for `PATIENCE` epochs.

    Args:
        seed: of the groups left out, the order of the prompts and dropout.
        work: directory of the checkpoints.
    """
    fitted, left_out = leave_groups_out(labelled.groups, numpy_generator(seed, "fine-tuning", "left out"))
    begin_at(network.classifier, float(labelled.correct[fitted].mean()))
    optimizer = torch.optim.AdamW(
        [
            {"params": network.model.encoder.parameters(), "lr": ENCODER_RATE},
            {"params": network.classifier.parameters(), "lr": CLASSIFIER_RATE},
        ],
        weight_decay=WEIGHT_DECAY,
    )
    words = restore_checkpoint(work / CHECKPOINT, network, [optimizer])
    losses: list[float] = json.loads(words["losses"]) if words else []

    def status() -> str:
        return f"loss on left-out groups {min(losses):.4f}" if losses else ""

    batches = -(-len(fitted) // BATCH_PROMPTS)
    while len(losses) < EPOCHS and len(losses) - int(np.argmin(losses or [0])) <= PATIENCE:
        epoch = len(losses)
        order = numpy_generator(seed, "fine-tuning", "order", epoch).permutation(fitted)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "fine-tuning", "dropout", epoch))
            network.train()
            for rows in progress(np.array_split(order, batches), f"epoch {epoch + 1}", status=status):
                loss = nn.functional.binary_cross_entropy_with_logits(
                    network(labelled.patterns.take(rows).tokens()),
                    torch.from_numpy(labelled.correct[rows]).float(),
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        log_odds = predict(network, labelled.patterns.take(left_out))
        losses.append(log_loss(labelled.correct[left_out], log_odds))
        if losses[-1] == min(losses):
            save_checkpoint(work / BEST, network, [], {})
        save_checkpoint(work / CHECKPOINT, network, [optimizer], {"losses": json.dumps(losses)})
    restore_checkpoint(work / BEST, network, [])
    network.eval()


@torch.inference_mode()
def predict(network: PatternClassifier, patterns: Patterns) -> NDArray[np.float64]:
    """(N,) log-odds that completions are correct."""
    network.eval()
    pieces = np.array_split(np.arange(len(patterns)), max(1, -(-len(patterns) // BATCH_PROMPTS)))
    return np.concatenate([network(patterns.take(rows).tokens()).double().numpy() for rows in pieces])
