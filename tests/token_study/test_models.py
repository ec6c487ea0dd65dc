"""A planted head that alone knows correctness is found; fits are seeded, and stop on other groups."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from apmae.token_study.models import Inputs, fit, predict

ROWS, HEADS, FEATURES, KNOWING = 3_000, 12, 7, 5


def tokens(knows):
    """Heads of noise, and one of which `knows` of its third feature, and some noise, tells the outcome."""
    generator = np.random.default_rng(0)
    heads = generator.normal(size=(ROWS, HEADS, FEATURES)).astype(np.float16)
    told = knows(heads[:, KNOWING, 2].astype(float)) + 0.2 * generator.normal(size=ROWS)
    groups = generator.integers(40, size=ROWS)
    return Inputs(generator.normal(size=(ROWS, 2)), heads), told > np.median(told), groups


@pytest.fixture(scope="module")
def planted():
    return tokens(lambda feature: feature)


def area(name, planted, seed=0):
    inputs, correct, groups = planted
    train, test = np.flatnonzero(groups < 30), np.flatnonzero(groups >= 30)
    model = fit(name, inputs.take(train), correct[train], np.ones(len(train)), groups[train], seed)
    return roc_auc_score(correct[test], predict(model, inputs.take(test)))


@pytest.mark.parametrize("name", ["linear", "mlp", "heads"])
def test_a_head_that_alone_knows_is_found(planted, name):
    assert area(name, planted) > 0.85


def test_heads_as_tokens_find_what_no_column_tells_linearly():
    by_size = tokens(np.abs)
    assert area("linear", by_size) < 0.6
    assert area("heads", by_size) > 0.85


def test_the_same_seed_gives_the_same_model(planted):
    inputs, correct, groups = planted
    rows = np.arange(400)
    first, second, other = (
        predict(fit("mlp", inputs.take(rows), correct[rows], np.ones(400), groups[rows], seed), inputs)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_outcomes_without_a_cause_stay_at_chance(planted):
    inputs, _, groups = planted
    coins = np.random.default_rng(1).random(ROWS) < 0.5
    assert abs(area("mlp", (inputs, coins, groups)) - 0.5) < 0.07


def test_weights_count(planted):
    _, correct, groups = planted
    plain = Inputs(np.zeros((ROWS, 1)))
    weights = np.where(correct, 3.0, 1.0)
    model = fit("linear", plain, correct, weights, groups, 0)
    odds = 3 * correct.sum() / (~correct).sum()
    assert np.exp(predict(model, plain)[0]) == pytest.approx(odds, rel=0.15)
