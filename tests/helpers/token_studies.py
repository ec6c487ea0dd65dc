"""A token study that no target made: one head alone knows which tokens are correct."""

import numpy as np
import polars as pl
import zarr

from apmae.study import Study
from apmae.study.artifacts import TOKEN_ARRAYS, TOKENS, WINDOWS
from helpers.studies import tiny_config

WINDOW_COUNT, KEPT, LENGTH, HEADS = 60, 32, 64, 6


def made_up_token_study(directory, knowing, seed=0):
    """60 windows of 12 groups, 4 of them held out; feature 0 of one head knows which tokens are correct.

    Args:
        knowing: that head, by syntax class.
    """
    generator = np.random.default_rng(seed)
    made = Study.create(tiny_config(directory))
    group = np.arange(WINDOW_COUNT) % 12
    split = np.where(group < 4, "test", "train")
    ids = generator.integers(0, 20, (WINDOW_COUNT, LENGTH))
    windows: dict[str, list[object]] = {name: [] for name in WINDOWS.columns}
    for number in range(WINDOW_COUNT):
        for name, value in {
            "window": number,
            "file": f"f{number}",
            "group": f"g{group[number]}",
            "split": split[number],
            "line": 1,
            "input_ids": ids[number].tolist(),
            "syntax": [0] * LENGTH,
            "is_first": [True] * LENGTH,
        }.items():
            windows[name].append(value)
    made.write(WINDOWS, WINDOWS.cast(pl.DataFrame(windows)))
    count = WINDOW_COUNT * KEPT
    window = np.repeat(np.arange(WINDOW_COUNT), KEPT)
    place = np.tile(np.arange(LENGTH - KEPT, LENGTH), WINDOW_COUNT)
    correct = generator.random(count) < 0.6
    syntax = np.where(place % 2, "identifiers", "eol")
    table = pl.DataFrame(
        {
            "window": window,
            "place": place,
            "group": [f"g{name}" for name in group[window]],
            "split": split[window],
            "syntax": syntax,
            "is_first": True,
            "weight": 1.0,
            "next_token_id": ids[window, place],
            "predicted_id": ids[window, place],
            "correct": correct,
            "next_token_probability": 0.5,
            "max_probability": 0.5 + 0.1 * generator.random(count) + 0.03 * correct,
            "margin": 0.1,
            "entropy": 1.0,
        }
    )
    made.write(TOKENS, TOKENS.cast(table))
    rows = generator.normal(size=(count, HEADS, 7))
    for name, head in knowing.items():
        rows[:, head, 0] += 4 * (correct & (syntax == name))
    with made.writing(TOKEN_ARRAYS) as path:
        arrays = zarr.create_group(path)
        for name, values in {
            "row_statistics": rows,
            "copy_attention": generator.random(size=(count, HEADS, 3)),
            "top_log_probs": -np.sort(generator.random((count, 20))),
            "hidden_states": generator.normal(size=(count, 2, 8)),
        }.items():
            arrays.create_array(name, data=values.astype(np.float16))
    made.mark_done("tokens", {"key": f"made-up-{seed}"})
    return made
