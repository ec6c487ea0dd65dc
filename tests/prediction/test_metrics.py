from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from apmae.prediction.metrics import (
    METRIC_FUNCTIONS,
    Scored,
    accuracy,
    auprc,
    aurc,
    auroc,
    balanced_accuracy,
    brier,
    brier_skill,
    ece,
    probability_at_rate,
    prr,
    risk_at,
    weights_at_rate,
    within_group_auroc,
)

RIGHT = np.array([True, False, True, False])
CHANCES = np.array([0.9, 0.4, 0.4, 0.6])
FOUR = Scored(RIGHT, CHANCES, np.zeros(4, dtype=int))
ONES = np.ones(4)


def scored(correct, probability) -> Scored:
    return Scored(np.array(correct), np.array(probability), np.zeros(len(correct), dtype=int))


def test_accuracy_by_hand():
    assert accuracy(FOUR, ONES) == 0.5
    assert accuracy(FOUR, np.array([3, 1, 0, 1])) == 0.8
    assert accuracy(scored([True, True], [0.5, 0.6]), np.ones(2)) == 0.5


def test_balanced_accuracy_by_hand():
    # Correct ones: 1 of 3 is hit; incorrect ones: 1 of 1.
    assert balanced_accuracy(scored([True, True, True, False], [0.9, 0.1, 0.2, 0.3]), ONES) == pytest.approx(
        2 / 3
    )


def test_auroc_by_hand():
    # Pairs (correct, incorrect): 0.9 > 0.4, 0.9 > 0.6, 0.4 = 0.4 (a half), 0.4 < 0.6.
    assert auroc(FOUR, ONES) == 2.5 / 4


def test_auroc_compares_within_a_fold():
    # In fold 0 the correct one is above the incorrect one, in fold 1 below; the levels of folds say nothing.
    chances = np.array([0.2, 0.1, 0.8, 0.9])
    assert auroc(Scored(RIGHT, chances, np.array([0, 0, 1, 1])), ONES) == 0.5
    assert auroc(Scored(RIGHT, chances, np.array([0, 0, 1, 1])), np.array([1, 1, 0, 0])) == 1
    assert np.isnan(auroc(Scored(RIGHT, chances, np.array([0, 1, 0, 1])), ONES))


def test_auprc_by_hand():
    # From above: 0.9 correct (precision 1), 0.6 incorrect, then 0.4 with one of each (precision 2 of 4).
    assert auprc(FOUR, ONES) == (1 + 2 / 4) / 2


def test_brier_by_hand():
    assert brier(FOUR, ONES) == pytest.approx((0.01 + 0.16 + 0.36 + 0.36) / 4)
    assert brier_skill(FOUR, ONES) == pytest.approx(1 - 0.2225 / 0.25)
    assert brier_skill(scored(RIGHT, [0.5] * 4), ONES) == 0
    assert brier_skill(scored(RIGHT, [1, 0, 1, 0]), ONES) == 1


def test_expected_calibration_error_by_hand():
    # Bin 0.9: 0.1 off; bin 0.4: mean 0.4 against 1 of 2, 0.1 off twice; bin 0.6: 0.6 off.
    assert ece(FOUR, ONES) == pytest.approx((0.1 + 2 * 0.1 + 0.6) / 4)
    assert ece(FOUR, np.array([1, 1, 0, 0])) == pytest.approx((0.1 + 0.4) / 2)
    assert ece(scored([True, False], [1, 0]), np.ones(2)) == 0


def test_area_under_risk_coverage_by_hand():
    # Trusted from above: 0.9 correct, risk 0; 0.6 incorrect, risk 1/2; the two of 0.4 go together, risk 2/4.
    assert aurc(FOUR, ONES) == (0 + 1 / 2 + 2 / 4 + 2 / 4) / 4
    assert aurc(scored(RIGHT, [0.5] * 4), ONES) == 0.5
    assert aurc(scored([True, True, False, False], [0.9, 0.8, 0.2, 0.1]), ONES) == (0 + 0 + 1 / 3 + 2 / 4) / 4


def area_of_order(correct) -> float:
    """LM-Polygraph's rejection area of prompts from the most trusted to the least, all outcomes 0 or 1.

    After rejecting all but the k most trusted ones, the mean outcome of these; averaged over k = 1, ..., n.
    """
    return float(np.mean([np.mean(correct[:k]) for k in range(1, len(correct) + 1)]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=2, max_size=6).filter(
        lambda rows: {right for right, _ in rows} == {True, False}
    )
)
def test_prr_is_lm_polygraphs(rows):
    """(area - random) / (perfect - random), random being the mean over all orders, as for ties."""
    correct, chances = (np.array(column) for column in zip(*rows, strict=True))
    orders = [np.array(order) for order in permutations(range(len(rows)))]
    descending = [order for order in orders if (np.diff(chances[order]) <= 0).all()]
    own = np.mean([area_of_order(correct[order]) for order in descending])
    random = np.mean([area_of_order(correct[order]) for order in orders])
    perfect = max(area_of_order(correct[order]) for order in orders)
    found = prr(scored(correct, chances / 3), np.ones(len(rows)))
    assert found == pytest.approx((own - random) / (perfect - random))


def test_prr_by_hand():
    # Correct, incorrect, correct: means 1, 1/2, 2/3; perfect 1, 1, 2/3; chance 2/3.
    assert prr(scored([True, False, True], [0.9, 0.5, 0.1]), np.ones(3)) == pytest.approx(
        (13 / 18 - 2 / 3) / (8 / 9 - 2 / 3)
    )
    assert prr(scored(RIGHT, [1, 0, 1, 0]), ONES) == pytest.approx(1)
    assert prr(scored(RIGHT, [0.5] * 4), ONES) == 0
    assert np.isnan(prr(scored([True, True], [0.1, 0.2]), np.ones(2)))


def test_risk_at_a_coverage_by_hand():
    four = scored([True, False, True, False], [0.9, 0.8, 0.7, 0.1])
    assert risk_at(four, ONES, 0.25) == 0
    assert risk_at(four, ONES, 0.5) == pytest.approx(1 / 2)
    assert risk_at(four, ONES, 0.75) == pytest.approx(1 / 3)
    assert risk_at(four, ONES, 1) == pytest.approx(1 / 2)
    # Half of the three tied ones are taken, each a third wrong.
    tied = scored([True, True, False, False], [0.5, 0.5, 0.5, 0.1])
    assert risk_at(tied, ONES, 3 / 8) == pytest.approx(1 / 3)
    weights = np.array([[1, 3, 1, 1], [2, 0, 2, 0], [0, 0, 0, 0]], dtype=float)
    found = risk_at(four, weights, 0.5)
    assert found[:2].tolist() == pytest.approx([2 / 3, 0])
    assert np.isnan(found[2])


def test_auroc_within_groups_by_hand():
    # Group 0: 0.9 > 0.4; group 1: 0.4 < 0.6. The pairs across groups, 0.9 > 0.6 and 0.4 = 0.4, do not count.
    groups = np.array([0, 0, 1, 1])
    assert within_group_auroc(FOUR, groups, ONES) == 0.5
    weights = np.array([[3, 3, 1, 1], [0, 0, 2, 2], [0, 0, 0, 0]], dtype=float)
    found = within_group_auroc(FOUR, groups, weights)
    assert found[:2].tolist() == [0.75, 0]
    assert np.isnan(found[2])
    # Models differ in their level: pairs of two folds do not count.
    of_two_models = FOUR._replace(fold=np.array([0, 0, 0, 1]))
    assert within_group_auroc(of_two_models, groups, ONES) == 1


def test_a_groups_level_is_worth_nothing_within_groups():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    correct = generator.random(200) < np.where(groups % 2 == 0, 0.8, 0.2)
    level = scored(correct, np.where(groups % 2 == 0, 0.8, 0.2))
    assert auroc(level, np.ones(200)) > 0.75
    assert within_group_auroc(level, groups, np.ones(200)) == 0.5


def test_weights_have_leading_axes():
    weights = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], dtype=float)
    values = auroc(FOUR, weights)
    assert values[:2].tolist() == [2.5 / 4, 1]
    assert np.isnan(values[2])


WEIGHTED = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 3)), min_size=2, max_size=30
).filter(lambda rows: {right for right, _, weight in rows if weight} == {True, False})


def columns(rows):
    correct, twentieths, weights = (np.array(column) for column in zip(*rows, strict=True))
    return scored(correct, twentieths / 20), weights.astype(float)


@settings(deadline=None, max_examples=60)
@given(WEIGHTED)
def test_metrics_against_scikit_learn(rows):
    found, weights = columns(rows)
    right, chances = found.correct, found.probability
    guess = chances > 0.5
    kept = weights > 0
    expected = {
        "accuracy": reference.accuracy_score(right, guess, sample_weight=weights),
        "balanced_accuracy": reference.balanced_accuracy_score(right, guess, sample_weight=weights),
        "auroc": reference.roc_auc_score(right, chances, sample_weight=weights),
        "auprc": reference.average_precision_score(right[kept], chances[kept], sample_weight=weights[kept]),
        "brier": reference.brier_score_loss(right, chances, sample_weight=weights),
        "brier_skill": reference.d2_brier_score(right, chances, sample_weight=weights),
    }
    for name, value in expected.items():
        assert METRIC_FUNCTIONS[name](found, weights) == pytest.approx(value), name


@settings(deadline=None, max_examples=60)
@given(WEIGHTED)
def test_a_weight_is_a_number_of_copies(rows):
    found, weights = columns(rows)
    copies = Scored(*(np.repeat(column, weights.astype(int)) for column in found))
    for name, metric in METRIC_FUNCTIONS.items():
        assert metric(found, weights) == pytest.approx(metric(copies, np.ones(len(copies.correct)))), name


@settings(deadline=None, max_examples=60)
@given(WEIGHTED)
def test_many_weightings_at_once_equal_one_at_a_time(rows):
    found, weights = columns(rows)
    stacked = np.stack([weights, weights[::-1], weights + 1])
    for name, metric in METRIC_FUNCTIONS.items():
        one_by_one = [metric(found, row) for row in stacked]
        np.testing.assert_allclose(metric(found, stacked), one_by_one, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=20))
def test_risk_coverage_and_calibration_against_their_definitions(rows):
    correct, chances = (np.array(column) for column in zip(*rows, strict=True))
    found = scored(correct, chances)
    risks = [(~correct[chances >= chance]).mean() for chance in chances]
    assert aurc(found, np.ones(len(correct))) == pytest.approx(np.mean(risks))
    gaps = 0.0
    for number in range(10):
        low, high = np.linspace(0, 1, 11)[[number, number + 1]]
        inside = (chances >= low) & ((chances < high) | (number == 9))
        if inside.any():
            gaps += inside.mean() * abs(chances[inside].mean() - correct[inside].mean())
    assert ece(found, np.ones(len(correct))) == pytest.approx(gaps)


def test_no_prompts_have_no_metrics():
    nothing = scored(np.array([], dtype=bool), np.array([]))
    for name, metric in METRIC_FUNCTIONS.items():
        assert np.isnan(metric(nothing, np.array([]))), name


def test_prompts_are_weighted_to_the_natural_rate():
    # Three of four prompts are correct, nine of ten naturally.
    correct = np.array([True, True, True, False])
    weights = weights_at_rate(correct, np.array([[1, 1, 1, 1], [2, 1, 0, 1]], dtype=float), 0.9)
    np.testing.assert_allclose(weights, [[1.2, 1.2, 1.2, 0.4], [2.4, 1.2, 0, 0.4]])
    assert accuracy(scored(correct, [0.9, 0.9, 0.1, 0.9]), weights[0]) == pytest.approx(0.6)


def test_probabilities_are_moved_to_the_natural_rate():
    # Odds of 1 at even outcomes are odds of 4 where four of five are correct.
    moved = probability_at_rate(np.array([0.5, 0.2, 0.0, 1.0]), 0.5, 0.8)
    np.testing.assert_allclose(moved, [0.8, 0.5, 0, 1])
    np.testing.assert_allclose(probability_at_rate(moved, 0.8, 0.5), [0.5, 0.2, 0, 1])
