"""What training at the paper's scale would take on this machine: 72 M patterns of StarCoder2-3B.

Measured: the machine's largest rate of bfloat16 matrix products; a training step of the paper's
AP-MAE; a plain pass of a StarCoder2-3B with random weights, and one that captures a quarter of every
layer's heads. Floating-point operations are counted by PyTorch, so every rate can be held against the
first one. Projected, and printed as sums that can be checked by hand: passes that find out which
prompts are completed correctly, passes that capture those, and steps on their patterns.

    python benchmarks/projection.py [--patterns 480] [--prompts 16] [--correct 50] [--rounds 2]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from capture import LENGTH_TOKENS, PATCH_SIZE, quarter_of_heads
from timing import fastest, machine, parser_of
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from training import step
from transformers import AutoModelForCausalLM, Starcoder2Config

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.patterns import scale
from apmae.common.devices import torch_device
from apmae.common.markdown import markdown_table
from apmae.target_model import Target
from apmae.training.trainer import optimizer_of

PAPER_PATTERNS = 72_000_000
MATRIX_SIDES = (2048, 4096, 8192)


class Rate(NamedTuple):
    """One unit of work: a pattern or a prompt."""

    flop: float
    seconds: float


def main() -> None:
    """Measure and print Markdown."""
    arguments = parser_of(__doc__, patterns=480, prompts=16, right=50, rounds=2).parse_args()
    device = torch_device("auto")
    peak = matrix_peak(device, arguments.rounds)
    training = training_rate(device, arguments.patterns, arguments.rounds)
    target = random_starcoder2(device)
    plain, capture = target_rates(target, arguments.prompts, arguments.rounds)
    rates = {
        "training step, a pattern": training,
        "plain pass, a prompt": plain,
        "pass that captures a quarter of the heads, a prompt": capture,
    }
    print(f"{machine()}; bfloat16 matrix products at {peak / 1e12:.2f} TFLOP/s at most\n")
    rows = (
        (
            name,
            f"{flop / 1e9:,.1f}",
            f"{seconds * 1e3:,.2f}",
            f"{flop / seconds / 1e12:.2f}",
            f"{flop / seconds / peak:.0%}",
        )
        for name, (flop, seconds) in rates.items()
    )
    print(markdown_table(("what", "GFLOP", "ms", "TFLOP/s", "of the peak"), rows))
    print_projection(rates, len(quarter_of_heads(target)), arguments.right / 100)


def print_projection(rates: dict[str, Rate], patterns_a_prompt: int, right: float) -> None:
    """The hours of every part, with the arithmetic."""
    captured = PAPER_PATTERNS / patterns_a_prompt
    counts = dict(zip(rates, (PAPER_PATTERNS, captured / right, captured), strict=True))
    print(f"\n{PAPER_PATTERNS:,} patterns / {patterns_a_prompt} a prompt = {captured:,.0f} prompts completed")
    print(f"correct; with {right:.0%} of all completed correctly, {captured / right:,.0f} prompts to run.\n")
    hours = {name: count * rates[name].seconds / 3600 for name, count in counts.items()}
    rows = [
        (name, f"{count:,.0f}", f"{rates[name].seconds * 1e3:,.2f}", f"{hours[name]:,.2f}")
        for name, count in counts.items()
    ]
    together = ("together", "", "", f"{sum(hours.values()):,.2f}")
    print(markdown_table(("what", "how many", "ms each", "hours"), [*rows, together]))


def matrix_peak(device: torch.device, rounds: int) -> float:
    """The most FLOP a second of a bfloat16 product of two square matrices."""
    rates = []
    for side in MATRIX_SIDES:
        left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
        rates.append(_rate(partial(torch.matmul, left, right), 1, rounds))
    return max(rate.flop / rate.seconds for rate in rates)


def training_rate(device: torch.device, patterns: int, rounds: int) -> Rate:
    """Of the paper's AP-MAE, in bfloat16."""
    model = APMAEModel(APMAEConfig()).to(device).train()
    tokens = model.tokenize(torch.rand(patterns, LENGTH_TOKENS, LENGTH_TOKENS).tril().to(device).half())
    return _rate(partial(step, model, optimizer_of(model, 0.05), tokens, "bfloat16"), patterns, rounds)


def random_starcoder2(
    device: torch.device, dtype: torch.dtype = torch.bfloat16, **changes: int | float
) -> Target:
    """StarCoder2-3B's architecture, which is that of Transformers' defaults, with random weights."""
    with device:
        model = AutoModelForCausalLM.from_config(Starcoder2Config(**changes), dtype=dtype)
    return Target(model.eval().requires_grad_(False), None, "StarCoder2-3B, random weights")


def target_rates(target: Target, prompts: int, rounds: int) -> tuple[Rate, Rate]:
    """Of a plain pass, and of one that captures and scales a quarter of every layer's heads."""
    input_ids = torch.randint(target.model.config.vocab_size, (prompts, LENGTH_TOKENS))
    plain = _rate(partial(target.logits, input_ids), prompts, rounds)
    capture = partial(target.capture_patches, input_ids, PATCH_SIZE, keep_scaled, quarter_of_heads(target))
    return plain, _rate(capture, prompts, rounds)


def keep_scaled(_layer: int, log_patches: Tensor) -> Tensor:
    """What the train stage keeps of a layer's patterns."""
    return scale(log_patches, "absolute").half()


def flop_of(work: Callable[[], object]) -> int:
    """Floating-point operations, counted by PyTorch."""
    with FlopCounterMode(display=False) as counter:
        work()
    flop: int = counter.get_total_flops()
    return flop


def _rate(work: Callable[[], object], units: int, rounds: int) -> Rate:
    flop = flop_of(work)
    ((seconds, _),) = fastest({"": work}, rounds).values()
    return Rate(flop / units, seconds / units)


if __name__ == "__main__":
    main()
