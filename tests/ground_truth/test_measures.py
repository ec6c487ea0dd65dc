"""Measures of rankings by hand, and on a target with one head that does everything."""

import numpy as np
import polars as pl
import pytest

from experiments.ground_truth.measures import auroc, chance, faithfulness, precision
from experiments.ground_truth.models import load
from experiments.ground_truth.study import config_of, draw_prompts

KNOWN = np.array([True, False, True, False])


@pytest.mark.parametrize(
    ("scores", "area", "found"),
    [
        ([4, 1, 3, 2], 1, 1),
        ([1, 3, 2, 4], 0, 0),
        ([4, 3, 2, 1], 0.75, 0.5),
        ([1, 1, 1, 1], 0.5, 0.5),
        ([2, 1, 1, 1], 0.75, (1 + 1 / 3) / 2),
        ([-np.inf, -np.inf, 5, 0], 0.625, 0.5),
    ],
)
def test_known_heads_by_hand(scores, area, found):
    assert auroc(np.array(scores), KNOWN) == pytest.approx(area)
    assert precision(np.array(scores), KNOWN) == pytest.approx(found)


def test_chance_counts_rankings_that_are_as_good():
    one_of_ten = np.arange(10) == 0
    assert chance([1.0], [one_of_ten], seed=0) == pytest.approx(0.1, abs=0.01)
    assert chance([1.0, 1.0], [one_of_ten, one_of_ten], seed=0) == pytest.approx(0.01, abs=0.004)
    assert chance([0.0], [one_of_ten], seed=0) == 1


def test_faithfulness_is_a_step_where_one_head_does_everything(tmp_path):
    target = load("previous")
    prompts = draw_prompts("previous", config_of("previous", tmp_path, 0), target)
    right = prompts.filter(pl.col("correct"), purpose="study").head(16)
    means = target.mean_head_outputs([prompts["input_ids"].to_list()[:64]])
    known = target.heads.index((0, 5))
    others = [number for number in range(len(target.heads)) if number != known]
    first = faithfulness(target, np.array([known, *others]), right, means, 16)
    last = faithfulness(target, np.array([*others, known]), right, means, 16)
    assert first.curve == pytest.approx(np.ones(10), abs=0.02)
    assert last.curve[:-1] == pytest.approx(np.zeros(9), abs=0.02)
    assert last.curve[-1] == 1
    assert first.cpr == pytest.approx(0.95, abs=0.02)
    assert first.cmd == pytest.approx(0.05, abs=0.02)
    assert last.cpr == pytest.approx(0.05, abs=0.02)
    assert last.cmd == pytest.approx(0.95, abs=0.02)
