"""How many interventions run a second: one is one prompt under one condition.

Ways to run the same conditions on random prompts, heads drawn at random:

- together: as the stage `intervene` does, in the device's native precision, an unchanged pass of a batch,
  then the batch under each condition, from the first layer that the condition touches;
- whole passes: the same, but every pass from the beginning, and none unchanged;
- reference: float32, one prompt and one condition at a time, a hook that zeroes the projection's input.

Two mixes of conditions: as many heads as the paper zeroes, and single heads, a step of greedy selection.

    python benchmarks/intervention.py [--model smollm2-135m] [--prompts 8] [--rounds 2]
"""

from __future__ import annotations

import argparse

import polars as pl
import torch
from timing import fastest, parser_of, print_table
from torch import Tensor
from transformers import PreTrainedModel

from apmae.intervention.apply import apply
from apmae.intervention.intervention import Intervention
from apmae.intervention.run_conditions import run_conditions
from apmae.target_model import Target
from apmae.target_model.loading import load_model_and_tokenizer

LENGTH_TOKENS = 256
BATCH = 16
HEAD_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)
DRAWS = 4
"""Of each number of heads."""
REFERENCE = "reference"


def main() -> None:
    """Measure and print a Markdown table for each mix."""
    arguments = _arguments()
    target = Target.load(arguments.model)
    reference = load_model_and_tokenizer(arguments.model, "float32", str(target.device), False)[0]
    reference.set_attn_implementation("sdpa")
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.prompts, LENGTH_TOKENS)
    ids = torch.randint(target.model.config.vocab_size, shape, generator=generator)
    prompts = pl.DataFrame({"input_ids": ids.tolist(), "true_ids": ids[:, :1].tolist()})
    for mix, conditions in mixes(target, generator).items():
        ways = {
            "together": lambda chosen=conditions: run_conditions(target, chosen, prompts, None, BATCH),
            "whole passes": lambda chosen=conditions: _whole_passes(target, chosen, ids),
            REFERENCE: lambda chosen=conditions: _one_by_one(reference, chosen[: len(HEAD_COUNTS)], ids[0]),
        }
        counts = dict.fromkeys(ways, len(conditions) * arguments.prompts)
        counts[REFERENCE] = len(HEAD_COUNTS)
        print(f"\n{arguments.model}, {LENGTH_TOKENS} tokens, {mix}: ", end="")
        print_table(fastest(ways, arguments.rounds), counts, REFERENCE, "interventions")


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, prompts=8, rounds=2)
    parser.add_argument("--model", default="smollm2-135m")
    return parser.parse_args()


def mixes(target: Target, generator: torch.Generator) -> dict[str, list[Intervention]]:
    """Interventions that zero heads drawn at random."""
    return {
        "the paper's numbers of heads": [_drawn(target, count, generator) for count in DRAWS * HEAD_COUNTS],
        "single heads": [_drawn(target, 1, generator) for _ in DRAWS * HEAD_COUNTS],
    }


def _drawn(target: Target, count: int, generator: torch.Generator) -> Intervention:
    order = torch.randperm(len(target.heads), generator=generator)[:count]
    return Intervention(tuple(target.heads[number] for number in order))


def _whole_passes(target: Target, conditions: list[Intervention], ids: Tensor) -> None:
    for condition in conditions:
        with target.scale_heads(dict.fromkeys(condition.heads, 0.0)):
            for batch in ids.split(BATCH):
                target.logits(batch).argmax(-1)


def _one_by_one(model: PreTrainedModel, conditions: list[Intervention], prompt: Tensor) -> None:
    for condition in conditions:
        with torch.inference_mode(), apply(model, condition):
            model(prompt[None].to(model.device)).logits[:, -1].argmax(-1)


if __name__ == "__main__":
    main()
