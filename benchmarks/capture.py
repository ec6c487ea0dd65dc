"""What capturing attention patterns costs, as ratios in one run.

Ways to run the target on the same prompts:

- the model's own: Transformers' forward pass with SDPA, no patterns;
- plain pass as mining runs it: ours, no patterns;
- capture 25% / all: patterns scaled and cut into float16 patches inside the forward pass;
- reference recipe: float32, one prompt at a time, eager attention with all patterns returned, the
  logarithm of the softmax, min-normalised; how the paper's release does it.

Rounds alternate between the ways, so that a noisy machine disturbs all of them alike. Peak memory is
that of a process of its own, over one batch, with results that keep nothing but the last row's numbers.

    python benchmarks/capture.py [--model smollm2-135m] [--dtype auto] [--prompts 32] [--rounds 3]

To see what a processor without bfloat16 does on one that has it:
`ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine, parser_of, timed
from torch import Tensor

from apmae.autoencoder.patterns import last_row_tokens, row_statistics, scale
from apmae.common.markdown import markdown_table
from apmae.target_model import Head, Target

LENGTH_TOKENS = 256
PATCH_SIZE = 32
BATCH = 16
REFERENCE_PROMPTS = 8
PLAIN = "the model's own pass (SDPA)"
REFERENCE = "reference recipe"


def main() -> None:
    """Measure and print a Markdown table."""
    arguments = _arguments()
    if arguments.peak:
        print(_peak_mib(arguments, arguments.peak == "capture"))
        return
    target = Target.load(arguments.model, arguments.dtype)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.prompts, LENGTH_TOKENS)
    input_ids = torch.randint(target.model.config.vocab_size, shape, generator=generator)
    plain = Target.load(arguments.model, arguments.dtype)
    plain.model.set_attn_implementation("sdpa")
    reference = Target.load(arguments.model, dtype="float32").model
    reference.set_attn_implementation("eager")
    quarter = quarter_of_heads(target)
    ways: dict[str, Callable[[], object]] = {
        PLAIN: lambda: _batches(input_ids, plain.logits),
        "plain pass as mining runs it": lambda: _batches(input_ids, target.logits),
        f"capture {len(quarter) / len(target.heads):.0%} of the heads": lambda: _batches(
            input_ids, lambda ids: target.capture_patches(ids, PATCH_SIZE, _reduce, quarter)
        ),
        "capture all heads": lambda: _batches(
            input_ids, lambda ids: target.capture_patches(ids, PATCH_SIZE, _reduce)
        ),
        REFERENCE: lambda: [_reference(reference, ids[None]) for ids in input_ids[:REFERENCE_PROMPTS]],
    }
    prompts = dict.fromkeys(ways, arguments.prompts) | {REFERENCE: REFERENCE_PROMPTS}
    taken = timed(ways, arguments.rounds)
    seconds = {name: statistics.median(wall for wall, _ in taken[name]) / prompts[name] for name in ways}
    _print(f"{arguments.model} in {target.dtype}", seconds)
    _print_memory(arguments, target)


def quarter_of_heads(target: Target) -> list[Head]:
    """As many of every layer, as the train stage captures them."""
    return [(layer, head) for layer, head in target.heads if (layer + head) % 4 == 0]


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, prompts=32, rounds=3)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--peak", choices=["plain", "capture"], help=argparse.SUPPRESS)
    return parser.parse_args()


def _batches(input_ids: Tensor, run: Callable[[Tensor], object]) -> None:
    for batch in input_ids.split(BATCH):
        run(batch)


def _reduce(_layer: int, log_patches: Tensor) -> tuple[Tensor, Tensor]:
    statistics = row_statistics(last_row_tokens(log_patches, PATCH_SIZE).flatten(-2))
    return scale(log_patches, "min_normalized").half(), statistics


def _reference(model: torch.nn.Module, input_ids: Tensor) -> Tensor:
    with torch.inference_mode():
        attentions = torch.stack(model(input_ids, output_attentions=True, use_cache=False).attentions)
        logarithm = attentions.log().clamp(min=torch.finfo(torch.float32).min)
        allowed = torch.ones_like(attentions[0, 0, 0], dtype=torch.bool).tril()
        finite = logarithm.masked_fill(~allowed | (attentions == 0), 0)
        lowest = finite.amin((-2, -1), keepdim=True)
        return (1 - finite / lowest) * allowed


def _print(model: str, seconds: dict[str, float]) -> None:
    plain, reference = seconds[PLAIN], seconds[REFERENCE]
    print(f"{model}, {LENGTH_TOKENS} tokens, {machine()}\n")
    heading = ("way", "prompts/s", "time against plain", "speed against reference")
    rows = (
        (name, f"{1 / value:.1f}", f"{value / plain:.2f}", f"{reference / value:.1f}")
        for name, value in seconds.items()
    )
    print(markdown_table(heading, rows))


def _peak_mib(arguments: argparse.Namespace, capture: bool) -> float:
    """Peak resident memory of this process while it runs one batch (Linux)."""
    target = Target.load(arguments.model, arguments.dtype)
    input_ids = torch.zeros(BATCH, LENGTH_TOKENS, dtype=torch.long)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of loading does not count
    if capture:
        target.capture_patches(input_ids, PATCH_SIZE, lambda *patches: _reduce(*patches)[1])
    else:
        target.model.set_attn_implementation("sdpa")
        target.logits(input_ids)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _print_memory(arguments: argparse.Namespace, target: Target) -> None:
    peaks = {}
    for way in ("plain", "capture"):
        command = [sys.executable, __file__, "--model", arguments.model, "--dtype", arguments.dtype]
        command += ["--peak", way]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks[way] = float(output.split()[-1])
    layer = BATCH * target.n_heads * LENGTH_TOKENS**2 * 4 / 2**20
    extra = peaks["capture"] - peaks["plain"]
    print(f"\nPeak memory of a batch of {BATCH}: {peaks['plain']:.0f} MiB plain, {peaks['capture']:.0f} MiB")
    print(f"with all heads captured: {extra / layer:.1f} times one layer's patterns ({layer:.0f} MiB) more.")


if __name__ == "__main__":
    main()
