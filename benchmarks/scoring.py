"""What scoring every token costs, as ratios in one run, with a small token study of SmolLM2-135M.

- generation: `generate` alone, and watched (`apmae.scoring.watch`), greedy, with the key-value cache;
- a file: one plain pass over each of its windows without overlap, with the logits of the last position or of
  all, in the weights' precision; and every token scored, in windows that overlap.

    python benchmarks/scoring.py [--tokens 64] [--rounds 3]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
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
    windows = ids[: len(ids[:FILE_TOKENS]) // width * width].reshape(-1, width)
    of_file: dict[str, Callable[[], object]] = {
        PLAIN: partial(_passes, scorer, windows, 0),
        "plain, last logits only": partial(_passes, scorer, windows, 1),
        "every token scored": partial(scorer.score, text),
    }
    print()
    print_table(fastest(of_file, rounds), dict.fromkeys(of_file, windows.size), PLAIN, "tokens")


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


def _passes(scorer: TokenScorer, windows: np.ndarray, logits: int) -> None:
    """Plain passes with the logits of the last so many positions; 0: of all."""
    size = scorer.study.config.target.batch_size if logits else 4
    for start in range(0, len(windows), size):
        ids = torch.from_numpy(windows[start : start + size]).long()
        with torch.inference_mode():
            scorer.target.model(input_ids=ids, use_cache=False, logits_to_keep=logits)


if __name__ == "__main__":
    main()
