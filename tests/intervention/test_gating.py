"""The gate's threshold by hand and by brute force, and who predicts whom."""

import numpy as np
import polars as pl
import pytest
from helpers.studies import random_prompts, tiny_study
from hypothesis import given
from hypothesis import strategies as st

from apmae.intervention.gating import best_gate, gate_probabilities
from apmae.study.artifacts import PREDICTIONS


def gate(probability, change):
    return best_gate(np.array(probability, dtype=np.float32), np.array(change, dtype=np.float64))


def test_only_what_is_likely_wrong_is_let_through():
    # By probability: +1, +1, -1, 0, -1: the first two gain 2, all of them lose.
    assert gate([0.5, 0.25, 0.75, 0.875, 1.0], [1, 1, -1, 0, -1]) == (0.5, 2.0)


def test_equal_probabilities_pass_together():
    # The prompt at 0.5 that gains cannot be had without the one that loses.
    assert gate([0.5, 0.5, 0.25], [1, -1, 1]) == (0.25, 1.0)


def test_no_gate_where_no_threshold_gains():
    assert gate([0.1, 0.2], [-1, 1]) is None
    assert gate([], []) is None


def test_everything_passes_where_that_is_best():
    assert gate([0.25, 1.0], [0, 1]) == (1.0, 1.0)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]), st.sampled_from([-1, 0, 1])), max_size=12
    )
)
def test_the_gate_gains_what_the_best_threshold_of_all_gains(prompts):
    found = gate([p for p, _ in prompts], [change for _, change in prompts])
    gains = {limit: sum(c for p, c in prompts if p <= limit) for limit in {p for p, _ in prompts}}
    best = max(gains.values(), default=0)
    if best <= 0:
        assert found is None
    else:
        assert found == (min(limit for limit, gain in gains.items() if gain == best), best)


@pytest.fixture
def study(tmp_path):
    """Correct completions are the confident ones; held-out predictions are made up."""
    prompts = random_prompts(count=80).with_columns(
        max_probability=pl.when("correct").then(0.9).otherwise(0.2).cast(pl.Float32)
    )
    study = tiny_study(tmp_path, prompts, prediction={"features": ["max_probability"]})
    held_out = prompts.filter(task="eol", split="test", purpose="study")
    predictions = held_out.select(
        "prompt_id",
        "task",
        protocol=pl.lit("held_out"),
        features=pl.lit("confidence"),
        fold=0,
        probability=pl.lit(0.625),
    )
    study.write(PREDICTIONS, predictions)
    return study


def test_training_prompts_are_predicted_by_models_of_other_groups(study, monkeypatch):
    from apmae.intervention import gating

    fitted = []
    real = gating.fit_features

    def recording(blocks, correct, groups, config, seed):
        fitted.append(set(groups.tolist()))
        predict = real(blocks, correct, groups, config, seed)
        return predict

    monkeypatch.setattr(gating, "fit_features", recording)
    table = gate_probabilities(study, "eol")
    prompts = study.study_prompts.filter(task="eol")
    assert sorted(table["prompt_id"]) == sorted(prompts["prompt_id"])
    joined = prompts.join(table, on="prompt_id")
    assert set(joined.filter(split="test")["gate_probability"]) == {0.625}
    train = joined.filter(split="train")
    assert train.filter("correct")["gate_probability"].min() > 0.5
    assert train.filter(~pl.col("correct"))["gate_probability"].max() < 0.5
    n_groups = train["group"].n_unique()
    assert len(fitted) == gating.FOLDS
    assert all(len(groups) < n_groups for groups in fitted)
    assert sum(n_groups - len(groups) for groups in fitted) == n_groups
