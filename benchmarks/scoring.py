"""What scoring every token costs, as ratios in one run, with a small token study of SmolLM2-135M.

- generation: `generate` alone, and watched (`apmae.scoring.watch`), greedy, with the key-value cache;
- a file: plain passes with the logits of all positions, in the weights' precision, over the scorer's windows,
  which overlap, and over windows without overlap; and every token scored.

    python benchmarks/scoring.py [--tokens 64] [--rounds 3]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from timing import fastest, parser_of, print_table

from apmae import pipeline
from apmae.scoring import TokenScorer, watch
from apmae.study.study_file import load_config

STUDY = Path(__file__).parent.parent / "studies" / "smollm2-prediction.yaml"
PROMPT_TOKENS = 128
FILE_TOKENS = 2_048
PLAIN = "plain"


def main() -> None:
    """Measure and print two Markdown tables."""
    arguments = parser_of(__doc__, tokens=64, rounds=3).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        changes = ["tokens.windows=24", "tokens.per_file=1", f"directory={directory}/run"]
        config = load_config(STUDY, changes)
        for stage in ("tokens", "token_predictor"):
            study = pipeline.run(config, only=stage)
        measure(TokenScorer.load(study.directory), arguments.tokens, arguments.rounds)


def measure(scorer: TokenScorer, tokens: int, rounds: int) -> None:
    """Print both tables, of a scorer's target on its study's first windows."""
    ids = np.concatenate(scorer.study.windows["input_ids"].to_list())
    prompt = torch.from_numpy(ids[None, :PROMPT_TOKENS]).long()
    generating: dict[str, Callable[[], object]] = {
        PLAIN: partial(_generate, scorer, prompt, tokens),
        "watched": partial(_generate_watched, scorer, prompt, tokens),
    }
    print_table(fastest(generating, rounds), dict.fromkeys(generating, tokens), PLAIN, "tokens")
    text = scorer.target.tokenizer.decode(ids[:FILE_TOKENS].tolist())
    width = scorer.study.config.prompts.length_tokens
    ids = np.array(scorer.target.tokenizer(text)["input_ids"])
    apart = [ids[start : start + width] for start in range(0, len(ids), width)]
    overlapping = [ids[window.start : window.stop] for _, some in scorer.windows(len(ids)) for window in some]
    of_file: dict[str, Callable[[], object]] = {
        PLAIN: partial(_passes, scorer, overlapping),
        "plain, without overlap": partial(_passes, scorer, apart),
        "every token scored": partial(scorer.score, text),
    }
    print(f"\n{len(overlapping)} windows that overlap, {len(apart)} without overlap\n")
    print_table(fastest(of_file, rounds), dict.fromkeys(of_file, len(ids)), PLAIN, "tokens")


def _generate(scorer: TokenScorer, prompt: torch.Tensor, tokens: int) -> None:
    scorer.target.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )


def _generate_watched(scorer: TokenScorer, prompt: torch.Tensor, tokens: int) -> None:
    with watch(scorer) as scores:
        _generate(scorer, prompt, tokens)
    assert len(scores) == tokens


def _passes(scorer: TokenScorer, windows: Sequence[np.ndarray]) -> None:
    """Plain passes over windows, four of one length at once."""
    for _, same in groupby(windows, len):
        for ids in torch.split(torch.from_numpy(np.stack(list(same))).long(), 4):
            with torch.inference_mode():
                scorer.target.model(input_ids=ids, use_cache=False)


if __name__ == "__main__":
    main()
