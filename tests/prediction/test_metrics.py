import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, roc_auc_score

from apmae.prediction.metrics import accuracy, auroc, bootstrap_interval, mean_interval

RIGHT = np.array([True, False, True, False])
CHANCES = np.array([0.9, 0.4, 0.4, 0.6])
ONES = np.ones(4)


def test_accuracy_by_hand():
    assert accuracy(RIGHT, CHANCES, ONES) == 0.5
    assert accuracy(RIGHT, CHANCES, np.array([3, 1, 0, 1])) == 0.8
    assert accuracy(np.array([True, True]), np.array([0.5, 0.6]), np.ones(2)) == 0.5


def test_auroc_by_hand():
    # Pairs (right, wrong): 0.9 > 0.4, 0.9 > 0.6, 0.4 = 0.4 (a half), 0.4 < 0.6.
    assert auroc(RIGHT, CHANCES, ONES) == 2.5 / 4


def test_weights_have_leading_axes():
    weights = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]])
    values = auroc(RIGHT, CHANCES, weights)
    assert values[:2].tolist() == [2.5 / 4, 1]
    assert np.isnan(values[2])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=2, max_size=30).filter(
        lambda rows: {right for right, _, weight in rows if weight} == {True, False}
    )
)
def test_metrics_against_scikit_learn(rows):
    correct, tenths, weights = (np.array(column) for column in zip(*rows, strict=True))
    chances = tenths / 5
    assert auroc(correct, chances, weights) == pytest.approx(
        roc_auc_score(correct, chances, sample_weight=weights)
    )
    assert accuracy(correct, chances, weights) == pytest.approx(
        accuracy_score(correct, chances > 0.5, sample_weight=weights)
    )


def test_no_prompts_have_no_metrics():
    nothing = (np.array([], dtype=bool), np.array([]), np.array([]))
    assert np.isnan(accuracy(*nothing))
    assert np.isnan(auroc(*nothing))


def test_mean_interval_by_hand():
    # Standard deviation 0.1, t(0.975, 2 degrees of freedom) = 4.302653.
    value, low, high = mean_interval(np.array([0.6, 0.7, 0.8]))
    margin = 4.302653 * 0.1 / 3**0.5
    assert (value, low, high) == pytest.approx((0.7, 0.7 - margin, 0.7 + margin))


def test_mean_interval_of_too_few_values():
    assert mean_interval(np.array([0.6]))[0] == 0.6
    assert np.isnan(mean_interval(np.array([0.6]))[1:]).all()
    assert np.isnan(mean_interval(np.array([]))).all()


def interval(correct, chances, groups, seed=0):
    return bootstrap_interval(accuracy, correct, chances, groups, np.random.default_rng(seed))


def test_bootstrap_resamples_whole_groups():
    # Two groups, all hits and all misses: a resample scores 0, 0.5 or 1, never between.
    correct = np.repeat([True, False], 50)
    assert interval(correct, np.ones(100), np.repeat([0, 1], 50)) == (0, 1)
    low, high = interval(correct, np.ones(100), np.arange(100))
    assert (low, high) == pytest.approx((0.4, 0.6), abs=0.02)


def test_bootstrap_needs_two_groups_and_both_outcomes():
    assert np.isnan(interval(RIGHT, CHANCES, np.zeros(4, dtype=int))).all()
    assert np.isnan(interval(RIGHT[:0], CHANCES[:0], np.zeros(0, dtype=int))).all()
    only_right = bootstrap_interval(
        auroc, np.ones(4, dtype=bool), CHANCES, np.arange(4), np.random.default_rng(0)
    )
    assert np.isnan(only_right).all()


def test_bootstrap_repeats_with_its_seed():
    generator = np.random.default_rng(3)
    correct, groups = generator.random(120) < 0.5, generator.permutation(120) % 40
    chances = generator.random(120)
    assert interval(correct, chances, groups, 1) == interval(correct, chances, groups, 1)
    assert interval(correct, chances, groups, 1) != interval(correct, chances, groups, 2)
