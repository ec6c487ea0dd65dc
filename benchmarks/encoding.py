"""What encoding with an AP-MAE of the paper's size costs, as ratios in one run.

- plain: float32, attention in separate operations, all 65 tokens (benchmarks/plain_apmae.py);
- float32: ours, the lower triangle's 37 tokens, PyTorch's fused attention;
- bfloat16, where the device has it: the same, as the encode stage then runs it;
- all patches: what a released checkpoint (`encode_patches: all`) costs, in the device's native precision.

    python benchmarks/encoding.py [--patterns 32] [--rounds 3]
"""

from __future__ import annotations

from functools import partial

import torch
from plain_apmae import PATTERN_SIZE, PlainAutoencoder
from timing import fastest, parser_of, print_table
from torch import Tensor

from apmae.autoencoder import APMAEConfig, APMAEModel, autocasting
from apmae.common.devices import native_precision, torch_device
from apmae.vocabulary import Readout

READOUTS: tuple[Readout, ...] = ("cls", "row")
PLAIN = "plain"


def main() -> None:
    """Measure and print a Markdown table."""
    arguments = parser_of(__doc__, patterns=32, rounds=3).parse_args()
    device = torch_device("auto")
    patterns = torch.rand(arguments.patterns, PATTERN_SIZE, PATTERN_SIZE).tril().to(device)
    plain = PlainAutoencoder().to(device).eval()
    ours = APMAEModel(APMAEConfig()).to(device).eval()
    released = APMAEModel(APMAEConfig(encode_patches="all")).to(device).eval()
    native = native_precision(device)
    ways = {PLAIN: partial(_plain, plain, patterns)}
    for precision in dict.fromkeys(("float32", native)):
        ways[precision] = partial(_encode, ours, patterns, precision)
    ways[f"{native}, all patches"] = partial(_encode, released, patterns, native)
    seconds = fastest(ways, arguments.rounds)
    print_table(seconds, dict.fromkeys(ways, arguments.patterns), PLAIN)


def _plain(model: PlainAutoencoder, patterns: Tensor) -> None:
    with torch.inference_mode():
        model.encode(patterns)


def _encode(model: APMAEModel, patterns: Tensor, precision: str) -> None:
    with torch.inference_mode(), autocasting(patterns.device, precision)():
        model.encode_readouts(patterns, READOUTS)


if __name__ == "__main__":
    main()
