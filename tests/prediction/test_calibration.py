import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration

from apmae.prediction.calibration import Calibration, fit_calibration

HALF = 0.5


def drawn(slope, offset, count=4_000):
    """Log-odds, and outcomes that are correct as often as `slope * log_odds + offset` says."""
    generator = np.random.default_rng(0)
    log_odds = generator.normal(0, 2, count)
    return log_odds, generator.random(count) < expit(slope * log_odds + offset)


def test_two_values_are_given_their_smoothed_frequencies():
    # Of four rows at +1 three are correct, of four at -1 one. Correct rows are 5/6, incorrect ones 1/6.
    # Two values and two parameters: calibrated, each gets its rows' mean target.
    log_odds = np.array([1, 1, 1, 1, -1, -1, -1, -1], dtype=np.float64)
    correct = np.array([1, 1, 1, 0, 0, 0, 0, 1], dtype=bool)
    high = (3 * 5 / 6 + 1 / 6) / 4
    found = fit_calibration(log_odds, correct, HALF)
    np.testing.assert_allclose(found, (logit(high), 0), atol=1e-5)
    np.testing.assert_allclose(expit(found(np.array([1.0, -1.0]))), [high, 1 - high], atol=1e-6)


def test_equals_scikit_learns_platt_scaling():
    log_odds, correct = drawn(0.4, -1, count=300)
    reference = _SigmoidCalibration().fit(log_odds, correct)
    found = fit_calibration(log_odds, correct, float(correct.mean()))
    np.testing.assert_allclose(expit(found(log_odds)), reference.predict(log_odds), atol=1e-4)


def test_a_slope_that_is_too_steep_is_undone():
    slope, offset = fit_calibration(*drawn(0.5, 0.0), rate=HALF)
    assert slope == pytest.approx(0.5, abs=0.05)
    assert offset == pytest.approx(0, abs=0.1)


def test_balanced_log_odds_move_to_the_natural_rate():
    # Half of the rows are correct, 0.9 naturally: nine to one is log 9 more.
    log_odds = np.array([1, 1, -1, -1], dtype=np.float64)
    correct = np.array([1, 0, 1, 0], dtype=bool)
    half, natural = (fit_calibration(log_odds + correct, correct, rate) for rate in (HALF, 0.9))
    assert natural.slope == half.slope > 0
    assert natural.offset - half.offset == pytest.approx(np.log(9))


def test_outcomes_that_are_told_apart_have_a_finite_slope():
    slope, _ = fit_calibration(np.array([-1.0, -1.0, 1.0, 1.0]), np.array([0, 0, 1, 1], dtype=bool), HALF)
    assert slope == pytest.approx(logit(3 / 4), abs=1e-5)


def test_log_odds_that_fall_with_the_outcome_say_nothing():
    log_odds, correct = drawn(-1.0, 0.0, count=100)
    assert fit_calibration(log_odds, correct, 0.8) == Calibration(0.0, pytest.approx(np.log(4)))


def test_log_odds_without_spread_give_the_rate():
    correct = np.arange(10) < 5
    found = fit_calibration(np.full(10, 0.3), correct, 0.8)
    assert expit(found(np.array([0.3]))) == pytest.approx([0.8], abs=1e-6)
