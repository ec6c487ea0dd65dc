"""Everything that only a GPU can tell, in one run: whether it computes what the CPU does, and how fast.

1. Exactness. A network of three layers of StarCoder2-3B's width, with random weights in float32 and without
   TF32, runs on the CPU and on the GPU. Logits of a plain pass, logits with scaled and replaced heads, and
   captured log probabilities must agree. A difference above its tolerance ends the run before anything is
   timed.
2. Forward passes of a StarCoder2-3B with random weights: the model's own SDPA pass, our plain pass, and our
   pass with capture. *Capture* keeps the log probabilities as float16; *capture and scale* keeps what the
   train stage keeps.
3. Training and encoding with the paper's AP-MAE, as fractions of the peak rate. The peak rate is that of
   products of two large square matrices of random numbers. PyTorch counts the floating-point operations.
4. Interventions, run as the stage `intervene` runs them: every row of a batch has its own head factors. One
   intervention is one prompt under one condition (benchmarks/intervention.py).

The ways of a part alternate, and each figure comes from the fastest round after a warm-up round. The script
prints the table as it grows, and writes it after every part to files named after the device.

    python benchmarks/gpu.py [--output benchmarks/results] [--tiny]
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import transformers
from capture import LENGTH_TOKENS, PATCH_SIZE, quarter_of_heads
from projection import flop_of, keep_scaled, random_starcoder2
from timing import device_name, fastest
from torch import Tensor
from training import update

from apmae.autoencoder import APMAEConfig, APMAEModel, PatternTokens
from apmae.target_model import Head, Target
from apmae.training.trainer import optimizer_of

EXACT_PROMPTS = 4
LOGITS_TOLERANCE = 1e-4
"""As a fraction of the largest logit. Rounding causes 1e-6, and TF32 would cause 8e-4."""
LOG_PROBS_TOLERANCE = 1e-3
"""In nats. Rounding causes 7e-6, and TF32 would cause 6e-3."""
PLAIN = "our plain pass"
QUARTER = "capture: a quarter of each layer's heads"
ALL = "capture: all heads"
PLAIN_TIME = "the plain pass's time"
PEAK = "matrix products"
PEAK_RATE = "the peak rate"


@dataclass(frozen=True)
class Sizes:
    """The sizes of the networks, the batches and the measurement.

    Attributes:
        dtype: of the timed target and of the AP-MAE's arithmetic.
        exact, target: changes to StarCoder2-3B's configuration, in part 1 and in parts 2 and 4.
        encoder: the AP-MAE's configuration.
        prompts, patterns: batch sizes.
        matrix_side: rows and columns of a multiplied matrix.
        repeats: products, training steps or encoded batches in one timing.
        rounds: timed rounds.
    """

    dtype: torch.dtype
    exact: Mapping[str, int | float]
    target: Mapping[str, int | float]
    encoder: APMAEConfig
    prompts: int
    patterns: int
    matrix_side: int
    repeats: int
    rounds: int

    def values(self) -> dict[str, int]:
        """The sizes that the report names."""
        target = transformers.Starcoder2Config(**self.target)
        return {
            "target_layers": target.num_hidden_layers,
            "target_heads": target.num_attention_heads,
            "target_width": target.hidden_size,
            "prompts": self.prompts,
            "tokens": LENGTH_TOKENS,
            "encoder_layers": self.encoder.encoder_layers,
            "decoder_layers": self.encoder.decoder_layers,
            "encoder_width": self.encoder.encoder_dim,
            "patterns": self.patterns,
            "matrix_side": self.matrix_side,
            "rounds": self.rounds,
        }


FULL = Sizes(
    dtype=torch.bfloat16,
    exact={"num_hidden_layers": 3},
    target={},
    encoder=APMAEConfig.paper(),
    prompts=64,
    patterns=480,
    matrix_side=8192,
    repeats=10,
    rounds=5,
)
SMALL_TARGET = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.125,  # hidden_size ** -0.5, as StarCoder2-3B has it
}
TINY = Sizes(
    dtype=torch.float32,
    exact=SMALL_TARGET,
    target=SMALL_TARGET,
    encoder=APMAEConfig.tiny(),
    prompts=2,
    patterns=4,
    matrix_side=256,
    repeats=1,
    rounds=1,
)


class Goal(NamedTuple):
    """A bound on a figure's ratio, or on the figure itself where it has no ratio."""

    bound: Literal["at most", "at least"]
    value: float

    def met_by(self, value: float) -> bool:
        """Whether a value keeps the bound; NaN never does."""
        return value <= self.value if self.bound == "at most" else value >= self.value

    def __str__(self) -> str:
        return f"{self.bound} {self.value:g}"


class Figure(NamedTuple):
    """A row of the table.

    Attributes:
        figure: the measured value, in `unit`.
        ratio: the value relative to `ratio_to`.
    """

    what: str
    figure: float
    unit: str
    ratio: float | None = None
    ratio_to: str | None = None
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        return self.goal and self.goal.met_by(self.figure if self.ratio is None else self.ratio)

    def values(self) -> dict[str, object]:
        """The row as JSON."""
        return {**self._asdict(), "goal": self.goal and str(self.goal), "met": self.met}

    def __str__(self) -> str:
        figure = f"{self.figure:,.1f}" if self.figure >= 1 else f"{self.figure:.1e}"
        ratio = "" if self.ratio is None else f"{self.ratio:.3g} times {self.ratio_to}"
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.what} | {figure} | {self.unit} | {ratio} | {self.goal or ''} | {met} |"


@dataclass
class Report:
    """The table: printed as it grows, and written as JSON and as Markdown."""

    sizes: Sizes
    directory: Path
    figures: list[Figure] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(self._head())

    def add(self, figures: Sequence[Figure]) -> None:
        """Print more rows, and write all rows so far."""
        self.figures += figures
        print("\n".join(map(str, figures)), flush=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        name = slug(device_name()) + ("-tiny" if self.sizes is TINY else "")
        values = {**self._circumstances(), "figures": [figure.values() for figure in self.figures]}
        (self.directory / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")
        lines = [self._head(), *map(str, self.figures)]
        (self.directory / f"{name}.md").write_text("\n".join(lines) + "\n")

    def _circumstances(self) -> dict[str, object]:
        return {
            "device": device_name(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "dtype": str(self.sizes.dtype).removeprefix("torch."),
            "sizes": self.sizes.values(),
        }

    def _head(self) -> str:
        line = "{device}, torch {torch}, transformers {transformers}, {dtype}: ".format(
            **self._circumstances()
        )
        sizes = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.sizes.values().items())
        return f"{line}{sizes}.\n\n| what | figure | unit | ratio | goal | met |\n|---|---|---|---|---|---|"


def main() -> None:
    """Check exactness, then measure."""
    arguments = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.tiny:
        print("needs a GPU; --tiny tries the script at small sizes on this processor", file=sys.stderr)
        sys.exit(2)
    sizes = TINY if arguments.tiny else FULL
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")  # no TF32
    report = Report(sizes, arguments.output)
    checked = exactness(device, sizes)
    require_met(checked)
    report.add(checked)
    target = random_starcoder2(device, sizes.dtype, **sizes.target)
    report.add(passes(target, sizes))
    report.add(autoencoder(device, sizes))
    report.add(interventions(target, sizes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--tiny", action="store_true", help="small sizes, float32, any device")
    return parser.parse_args()


def slug(name: str) -> str:
    """A file name made from a device's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def exactness(device: torch.device, sizes: Sizes) -> list[Figure]:
    """Differences between the device and the CPU, for one small network."""
    other = random_starcoder2(device, torch.float32, **sizes.exact)
    reference = Target(copy.deepcopy(other.model).cpu(), other.tokenizer, other.name)
    return compare(reference, other, _prompts(reference, EXACT_PROMPTS))


def compare(reference: Target, other: Target, input_ids: Tensor) -> list[Figure]:
    """The largest differences between two targets, with their tolerances."""
    some = quarter_of_heads(reference)
    factors = torch.rand(len(input_ids), reference.n_layers, reference.n_heads)
    means = reference.mean_head_outputs([input_ids])
    logits: dict[str, Callable[[Target], Tensor]] = {
        "plain pass": lambda target: target.logits(input_ids),
        "scaled and replaced heads": lambda target: _scaled(target, input_ids, factors, means),
    }
    captured: dict[str, Callable[[Target], list[Tensor]]] = {
        "patterns of all heads": lambda target: _patterns(target, input_ids),
        "patches of all heads": lambda target: _patches(target, input_ids),
        "patches of a quarter of the heads": lambda target: _patches(target, input_ids, some),
    }
    figures = []
    for what, run in logits.items():
        expected = run(reference)
        difference = _largest_difference([expected], [run(other)]) / float(expected.abs().max())
        goal = Goal("at most", LOGITS_TOLERANCE)
        figures.append(Figure(f"difference: {what}", difference, "of the largest logit", goal=goal))
    for what, capture in captured.items():
        difference = _largest_difference(capture(reference), capture(other))
        goal = Goal("at most", LOG_PROBS_TOLERANCE)
        figures.append(Figure(f"difference: {what}", difference, "nats", goal=goal))
    return figures


def require_met(figures: Sequence[Figure]) -> None:
    """End the run with one line if a goal is missed."""
    missed = [
        f"{figure.what} {figure.figure:.1e} {figure.unit}, {figure.goal} allowed"
        for figure in figures
        if figure.met is False
    ]
    if missed:
        sys.exit(f"{device_name()} is not exact: {'; '.join(missed)}")


def passes(target: Target, sizes: Sizes) -> list[Figure]:
    """Prompts a second: the model's own pass, our plain pass and our passes with capture."""
    own = Target(copy.deepcopy(target.model), target.tokenizer, "its own attention")
    own.model.set_attn_implementation("sdpa")
    input_ids = _prompts(target, sizes.prompts)
    capture = partial(target.capture_patches, input_ids, PATCH_SIZE)
    some = quarter_of_heads(target)
    ways: dict[str, Callable[[], object]] = {
        "the model's own SDPA pass": partial(own.logits, input_ids),
        PLAIN: partial(target.logits, input_ids),
        QUARTER: partial(capture, _keep, some),
        ALL: partial(capture, _keep),
        "capture and scale: a quarter of each layer's heads": partial(capture, keep_scaled, some),
        "capture and scale: all heads": partial(capture, keep_scaled),
    }
    goals = {QUARTER: Goal("at most", 1.15), ALL: Goal("at most", 1.3)}
    seconds = {way: wall for way, (wall, _) in fastest(ways, sizes.rounds).items()}
    return [
        Figure(way, sizes.prompts / wall, "prompts/s", wall / seconds[PLAIN], PLAIN_TIME, goals.get(way))
        for way, wall in seconds.items()
    ]


def autoencoder(device: torch.device, sizes: Sizes) -> list[Figure]:
    """The peak rate, and patterns a second of training and of encoding."""
    model = APMAEModel(sizes.encoder).to(device)
    side = sizes.encoder.pattern_size
    tokens = model.tokenize(torch.rand(sizes.patterns, side, side, device=device).tril().half())
    shape = (sizes.matrix_side, sizes.matrix_side)
    left, right = (torch.randn(shape, device=device, dtype=sizes.dtype) for _ in range(2))
    works: dict[str, Callable[[], object]] = {
        PEAK: partial(torch.matmul, left, right),
        "training": partial(_train, model, optimizer_of(model, 0.05), tokens, sizes.dtype),
        "encoding": partial(_encode, model, tokens, sizes.dtype),
    }
    goals = {"training": Goal("at least", 0.45), "encoding": Goal("at least", 0.5)}
    flop = {name: flop_of(work) for name, work in works.items()}
    ways: dict[str, Callable[[], object]] = {
        name: partial(_repeat, work, sizes.repeats) for name, work in works.items()
    }
    seconds = {name: wall / sizes.repeats for name, (wall, _) in fastest(ways, sizes.rounds).items()}
    rates = {name: flop[name] / wall for name, wall in seconds.items()}
    return [
        Figure(PEAK, rates[PEAK] / 1e12, "TFLOP/s"),
        *(
            Figure(
                name, sizes.patterns / seconds[name], "patterns/s", rates[name] / rates[PEAK], PEAK_RATE, goal
            )
            for name, goal in goals.items()
        ),
    ]


def interventions(target: Target, sizes: Sizes) -> list[Figure]:
    """Interventions a second, with the paper's numbers of heads and with single heads."""
    import polars as pl
    from intervention import mixes

    from apmae.intervention.run_conditions import run_conditions

    input_ids = _prompts(target, sizes.prompts)
    prompts = pl.DataFrame({"input_ids": input_ids.tolist(), "true_ids": input_ids[:, :1].tolist()})
    conditions = mixes(target, torch.Generator().manual_seed(0))
    ways: dict[str, Callable[[], object]] = {PLAIN: partial(target.logits, input_ids)}
    for mix, chosen in conditions.items():
        ways[mix] = partial(run_conditions, target, chosen, prompts, None, sizes.prompts)
    seconds = {way: wall / sizes.prompts for way, (wall, _) in fastest(ways, sizes.rounds).items()}
    return [
        Figure(
            f"interventions: {mix}",
            len(chosen) / seconds[mix],
            "interventions/s",
            seconds[mix] / len(chosen) / seconds[PLAIN],
            PLAIN_TIME,
        )
        for mix, chosen in conditions.items()
    ]


def _prompts(target: Target, count: int) -> Tensor:
    return torch.randint(target.model.config.vocab_size, (count, LENGTH_TOKENS))


def _scaled(target: Target, input_ids: Tensor, factors: Tensor, replacement: Tensor) -> Tensor:
    with target.scale_heads(factors, replacement):
        return target.logits(input_ids)


def _patterns(target: Target, input_ids: Tensor) -> list[Tensor]:
    """The log probabilities of every layer."""
    _, by_layer = target.capture(input_ids, lambda _layer, log_probs: log_probs)
    return list(by_layer.values())


def _patches(target: Target, input_ids: Tensor, heads: Sequence[Head] | None = None) -> list[Tensor]:
    """The log probabilities of every layer, cut into patches."""
    _, by_layer = target.capture_patches(
        input_ids, PATCH_SIZE, lambda _layer, patches: patches.clone(), heads
    )
    return [torch.cat(patches) for patches in by_layer.values()]


def _largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest difference of two values, infinite where only one is masked (-inf), NaN if any is NaN."""
    largest = [
        (there - here).masked_fill(there == here, 0).abs().max()
        for here, there in zip(expected, (values.cpu() for values in found), strict=True)
    ]
    return float(torch.stack(largest).max())


def _keep(_layer: int, log_patches: Tensor) -> Tensor:
    return log_patches.half()


def _train(
    model: APMAEModel, optimizer: torch.optim.Optimizer, tokens: PatternTokens, dtype: torch.dtype
) -> None:
    with _autocast(tokens, dtype):
        loss = model(tokens, reconstruct=False).loss
    update(loss, optimizer)


def _encode(model: APMAEModel, tokens: PatternTokens, dtype: torch.dtype) -> None:
    with torch.inference_mode(), _autocast(tokens, dtype):
        model.encode_readouts(tokens, ("cls", "row"))


def _autocast(tokens: PatternTokens, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(tokens.patches.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


if __name__ == "__main__":
    main()
