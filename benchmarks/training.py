"""What a training step of an AP-MAE of the paper's size costs, as ratios in one run.

Forward, backward and AdamW, on patterns that lie in memory (capture: benchmarks/capture.py):

- plain: float32, attention in separate operations, all 65 tokens through encoder and decoder, AdamW
  without options (benchmarks/plain_apmae.py);
- plain, visible only: the same, but the encoder leaves masked patches out, as the release does;
- float32, bfloat16: ours, 19 tokens through the encoder, 37 through the decoder, fused AdamW; in the native
  one of the device as the train stage runs it, and without bfloat16 where the device emulates it.

    python benchmarks/training.py [--patterns 64] [--rounds 2]
"""

from __future__ import annotations

from functools import partial

import torch
from plain_apmae import PATTERN_SIZE, PlainAutoencoder
from timing import fastest, parser_of, print_table
from torch import Tensor

from apmae.autoencoder import APMAEConfig, APMAEModel, PatternTokens, autocasting
from apmae.common.devices import native_precision, torch_device
from apmae.training.trainer import optimizer_of

PLAIN = "plain"
VISIBLE_ONLY = "plain, visible only"


def main() -> None:
    """Measure and print a Markdown table."""
    arguments = parser_of(__doc__, patterns=64, rounds=2).parse_args()
    device = torch_device("auto")
    patterns = torch.rand(arguments.patterns, PATTERN_SIZE, PATTERN_SIZE).tril().to(device)
    ways = {}
    for name, visible_only in ((PLAIN, False), (VISIBLE_ONLY, True)):
        plain = PlainAutoencoder(visible_only=visible_only).to(device)
        ways[name] = partial(_step_plain, plain, torch.optim.AdamW(plain.parameters()), patterns)
    ours = APMAEModel(APMAEConfig()).to(device).train()
    tokens = ours.tokenize(patterns.half())
    for precision in dict.fromkeys(("float32", native_precision(device))):
        ways[precision] = partial(step, ours, optimizer_of(ours, weight_decay=0.05), tokens, precision)
    seconds = fastest(ways, arguments.rounds)
    print_table(seconds, dict.fromkeys(ways, arguments.patterns), PLAIN)


def _step_plain(model: PlainAutoencoder, optimizer: torch.optim.Optimizer, patterns: Tensor) -> None:
    update(model(patterns), optimizer)


def step(model: APMAEModel, optimizer: torch.optim.Optimizer, tokens: PatternTokens, precision: str) -> None:
    """Forward, backward and update, as the train stage does them."""
    with autocasting(tokens.patches.device, precision)():
        loss = model(tokens, reconstruct=False).loss
    update(loss, optimizer)


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Backward pass and optimiser step."""
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


if __name__ == "__main__":
    main()
