"""Choosing heads by hand, and a block of conditions against one condition at a time."""

import numpy as np
import polars as pl
import pytest
from tiny_studies import random_prompts, tiny_config

from apmae.intervention import Block, Condition, conditions, held_out_prompts, rank_heads, run_block
from apmae.study import IMPORTANCE_SCHEMA

IMPORTANCE = pl.DataFrame(
    [
        ("eol", "clusters", 0, 0, 1.0, 0.3, -0.1, 0.2, 1.0, 1.0),
        ("eol", "clusters", 0, 1, 1.0, 0.1, -0.5, -0.4, 1.0, 1.0),
        ("eol", "clusters", 1, 0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0),
        ("eol", "clusters", 1, 1, 1.0, 0.6, -0.2, 0.4, 1.0, 1.0),
    ],
    schema=IMPORTANCE_SCHEMA,
    orient="row",
)


@pytest.mark.parametrize(
    ("selection", "heads"),
    [
        ("positive", [(1, 1), (0, 0), (0, 1)]),  # head (1, 0) has no positive value
        ("negative", [(0, 1), (1, 1), (0, 0)]),
        ("neutral", [(1, 0), (0, 0), (0, 1), (1, 1)]),
    ],
)
def test_heads_are_ranked_by_their_shap_values(selection, heads):
    assert rank_heads(IMPORTANCE, selection, np.random.default_rng(0)) == heads


def test_ties_and_random_draws_depend_on_the_generator_alone():
    silent = IMPORTANCE.with_columns(mean_positive=0.0, mean_negative=0.0)
    orders = {tuple(rank_heads(silent, "neutral", np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) > 5
    same = {tuple(rank_heads(IMPORTANCE, "random", np.random.default_rng(3))) for _ in range(3)}
    assert len(same) == 1
    assert set(same.pop()) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_counts_without_enough_heads_are_left_out(tmp_path):
    config = tiny_config(tmp_path, intervention={"head_counts": [1, 3, 4, 9], "random_draws": 2}).intervention
    made = [(c.selection, c.draw, len(c.heads)) for c in conditions("eol", IMPORTANCE, config, seed=0)]
    assert made == [
        ("positive", 0, 1),
        ("positive", 0, 3),
        ("negative", 0, 1),
        ("negative", 0, 3),
        ("neutral", 0, 1),
        ("neutral", 0, 3),
        ("neutral", 0, 4),
        *[("random", draw, count) for draw in (0, 1) for count in (1, 3, 4)],
    ]


def test_held_out_prompts_are_the_first_of_either_outcome(tmp_path):
    config = tiny_config(tmp_path, intervention={"prompts_per_outcome": 1}).intervention
    prompts = random_prompts(count=40)
    chosen = held_out_prompts(prompts, "eol", config)
    assert sorted(chosen["correct"]) == [False, True]
    assert set(chosen["split"]) == {"test"}
    assert set(chosen["task"]) == {"eol"}


def test_a_block_equals_its_conditions_one_prompt_at_a_time(llama):
    prompts = random_prompts().filter(task="eol").head(5)
    heads = [((0, 1),), ((0, 0), (1, 2), (2, 3))]
    block = Block(
        0, tuple(Condition("eol", "random", draw, chosen) for draw, chosen in enumerate(heads)), prompts
    )
    table = run_block(block, llama, batch_size=4)
    expected = []
    for chosen in heads:
        with llama.scale_heads(dict.fromkeys(chosen, 0.0)):
            expected += [int(llama.logits([ids]).argmax()) for ids in prompts["input_ids"].to_list()]
    assert table["predicted_id"].to_list() == expected
    assert table["n_heads"].to_list() == [1] * 5 + [3] * 5
    assert table["prompt_id"].to_list() == prompts["prompt_id"].to_list() * 2
    targets = prompts["target_id"].to_list() * 2
    assert table["correct_after"].to_list() == [a == b for a, b in zip(expected, targets, strict=True)]
