"""The stage `tokens`: windows of the corpus, each run once, and the tokens of them that are kept.

A shard of windows is written whole, once, by one process. A killed stage goes on with the missing shards.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import zarr
from torch import Tensor

from apmae.common import distributed
from apmae.common.atomic import read_parquet, replacing, write_parquet
from apmae.common.errors import ApmaeError
from apmae.common.seeding import numpy_generator
from apmae.pipeline import Context
from apmae.prompts import PromptFormatter
from apmae.prompts.stage import split_of
from apmae.study.artifacts import TOKEN_ARRAYS, TOKENS, WINDOWS, token_ids
from apmae.study.config import StudyConfig
from apmae.target_model import TOP_TOKENS, Target
from apmae.token_study.sampling import draw_by_stratum
from apmae.token_study.syntax import SYNTAX_CLASSES
from apmae.token_study.tokens import HEAD_FEATURES, TokenFeatures, projection, token_features, windows_at_once
from apmae.token_study.windows import draw_windows, first_predicted

SHARD_WINDOWS = 32
CHUNK_TOKENS = 512


def run(context: Context) -> dict[str, object]:
    """Write `windows.parquet`, `tokens.parquet` and `tokens.zarr`; returns counts for the stage's marker.

    Raises:
        ApmaeError: the corpus has no window, or a window has fewer tokens than are to be kept.
    """
    study, target = context.study, context.target
    config = study.config
    if not config.tokens.windows:
        return {"windows": 0, "tokens": 0}
    work = study.work_directory("tokens", context.key)
    if distributed.is_main() and not (work / WINDOWS.name).exists():
        write_parquet(work / WINDOWS.name, _draw(context))
    distributed.barrier()
    windows = read_parquet(work / WINDOWS.name)
    first_place = first_predicted(config, _formatter(config, target))
    kept = min(config.tokens.per_window, config.prompts.length_tokens - first_place)
    arrays = work / TOKEN_ARRAYS
    shards = [windows[start : start + SHARD_WINDOWS] for start in range(0, windows.height, SHARD_WINDOWS)]
    paths = [work / f"tokens-{number:05d}.parquet" for number in range(len(shards))]
    if distributed.is_main() and not arrays.exists():
        for path in paths:
            path.unlink(missing_ok=True)  # a shard's table says that its part of the arrays is written
        _prepare(arrays, windows.height * kept, target, config)
    distributed.barrier()
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    project = projection(target.hidden_size, config)
    mine = missing[distributed.rank() :: distributed.world_size()]
    for number in context.progress(mine, "tokens", len(shards), done=len(shards) - len(missing)):
        table, values = _shard(target, shards[number], config, first_place, kept, project)
        stored = dict(zarr.open_group(arrays, mode="r+").arrays())
        first = number * SHARD_WINDOWS * kept
        for name, value in values.items():
            stored[name][first : first + table.height] = value
        write_parquet(paths[number], table)
    distributed.barrier()
    tokens = pl.concat(map(read_parquet, paths))
    if distributed.is_main():
        study.write(WINDOWS, windows)
        with study.writing(TOKEN_ARRAYS) as path:
            arrays.rename(path)
        study.write(TOKENS, tokens)
    return _counts(tokens, windows)


def _draw(context: Context) -> pl.DataFrame:
    """The windows, `WINDOWS`."""
    config, wanted = context.study.config, context.study.config.tokens.windows
    formatter = _formatter(config, context.target)
    drawn = islice(draw_windows(context.corpus, config, formatter, config.tokens.per_file), wanted)
    rows = [
        {
            "window": number,
            "split": split_of(placed.window.group, config),
            **{name: np.asarray(value).tolist() for name, value in placed.window._asdict().items()},
        }
        for number, placed in enumerate(context.progress(drawn, "windows", wanted))
    ]
    if not rows:
        raise ApmaeError(
            f"no file of {context.corpus.description} has the {config.prompts.length_tokens} tokens of a "
            "window; lower prompts.length_tokens or name another corpus"
        )
    return WINDOWS.of_rows(rows)


def _formatter(config: StudyConfig, target: Target) -> PromptFormatter:
    return PromptFormatter(target.tokenizer, config.prompts.format, config.prompts.length_tokens)


def _prepare(path: Path, tokens: int, target: Target, config: StudyConfig) -> None:
    shapes = {
        **{name: (len(target.heads), numbers) for name, numbers in HEAD_FEATURES.items()},
        "top_log_probs": (TOP_TOKENS,),
        "hidden_states": (2, config.tokens.hidden_dimensions),
    }
    with replacing(path) as temporary:
        group = zarr.create_group(temporary, attributes={"n_heads": target.n_heads})
        for name, shape in shapes.items():
            group.create_array(
                name,
                shape=(tokens, *shape),
                chunks=(CHUNK_TOKENS, *shape),
                dtype="float16",
                fill_value=float("nan"),
            )


def _shard(
    target: Target, windows: pl.DataFrame, config: StudyConfig, first: int, kept: int, project: Tensor
) -> tuple[pl.DataFrame, dict[str, np.ndarray]]:
    """Rows of `TOKENS` and of every array, of some windows whose tokens are looked at from `first` on."""
    ids = token_ids(windows)
    size = windows_at_once(target, ids.shape[1], ids.shape[1] - first, config.target.batch_size)
    tables, arrays = [], []
    for start in range(0, len(ids), size):
        features = token_features(target, ids[start : start + size], first)
        for offset, window in enumerate(windows[start : start + size].iter_rows(named=True)):
            table, places = _kept(features, offset, window, config.seed, first, kept)
            tables.append(table)
            hidden = features.hidden_states[offset, places] @ project
            arrays.append(
                {
                    **{name: values[offset, places] for name, values in features.of_heads.items()},
                    "top_log_probs": features.top_log_probs[offset, places],
                    "hidden_states": hidden,
                }
            )
    values = {name: torch.cat([each[name] for each in arrays]).half().numpy() for name in arrays[0]}
    return pl.concat(tables), values


def _kept(
    features: TokenFeatures, offset: int, window: dict[str, Any], seed: int, first: int, kept: int
) -> tuple[pl.DataFrame, Tensor]:
    """Rows of `TOKENS` of one window, and the places of these tokens among those looked at."""
    known = pl.DataFrame(
        {name: column[offset].numpy() for name, column in features.outcomes._asdict().items()}
    ).with_columns(
        place=pl.int_range(pl.len()) + first,
        number=pl.Series(window["syntax"][first:]),
        is_first=pl.Series(window["is_first"][first:]),
        next_token_id=pl.Series(window["input_ids"][first:]),
    )
    strata = (2 * known["number"].cast(pl.Int64) + known["correct"]).to_numpy()
    generator = numpy_generator(seed, "tokens", "kept", window["window"])
    places, weights = draw_by_stratum(strata, kept, generator)
    table = known[places.tolist()].with_columns(
        pl.lit(window["window"]).alias("window"),
        pl.lit(window["group"]).alias("group"),
        pl.lit(window["split"]).alias("split"),
        syntax=pl.col("number").replace_strict(dict(enumerate(SYNTAX_CLASSES)), return_dtype=pl.String),
        weight=pl.Series(weights),
    )
    return TOKENS.cast(table), torch.from_numpy(places)


def _counts(tokens: pl.DataFrame, windows: pl.DataFrame) -> dict[str, object]:
    rate = np.average(tokens["correct"].to_numpy(), weights=tokens["weight"].to_numpy())
    return {"windows": windows.height, "tokens": tokens.height, "base_rate": round(float(rate), 4)}
