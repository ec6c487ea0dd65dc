"""Mean head outputs over prompts, which mean ablation puts in the heads' place."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from safetensors.torch import load_file, save_file
from torch import Tensor

from apmae.common.atomic import replacing
from apmae.study.artifacts import token_ids
from apmae.target_model import Target


def saved_means(path: Path, target: Target, prompts: pl.DataFrame, batch_size: int) -> Tensor:
    """(L, H, D) float32, mean over prompts and positions; from the file where it is there.

    Args:
        path: a safetensors file, written where it is missing.
        prompts: `input_ids` of one length.
    """
    if not path.exists():
        ids = token_ids(prompts)
        means = target.mean_head_outputs(
            ids[start : start + batch_size] for start in range(0, len(ids), batch_size)
        )
        with replacing(path) as temporary:
            save_file({"means": means}, temporary)
    return load_file(path)["means"]
