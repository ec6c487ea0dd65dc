import numpy as np
import polars as pl
import pytest

from apmae.prediction.measurement import (
    AUROC_VARIANTS,
    Prompts,
    Rates,
    holm,
    measure,
    p_value,
    resampled_weights,
    with_holm,
)
from apmae.prediction.metrics import METRIC_FUNCTIONS, RATE_DEPENDENT, Scored, accuracy

EVEN = Rates(kept=0.5, base=0.5)


def measured(
    sets: dict[str, tuple[np.ndarray, np.ndarray]], groups: np.ndarray, rates=EVEN, seed=0, of_kind=True
):
    scored = {
        name: Scored(correct, chances, np.zeros(len(correct), dtype=int))
        for name, (correct, chances) in sets.items()
    }
    return measure(scored, Prompts(groups, np.broadcast_to(of_kind, groups.shape)), rates, seed)


def row(table: pl.DataFrame, features: str, metric: str) -> dict[str, float]:
    return table.filter(features=features, metric=metric).row(0, named=True)


def test_every_metric_of_every_set():
    right = np.arange(8) % 2 == 0
    table = measured({"confidence": (right, right * 0.5), "clusters": (right, right * 0.7)}, np.arange(8))
    at_base_rate = (f"{name}_at_base_rate" for name in RATE_DEPENDENT)
    names = [*METRIC_FUNCTIONS, *AUROC_VARIANTS, *at_base_rate]
    assert table.select("features", "metric").rows() == [
        (features, metric) for features in ("confidence", "clusters") for metric in names
    ]
    assert set(table["prompts"]) == {8}


def test_bootstrap_resamples_whole_groups():
    # Two groups, all hits and all misses: a resample scores 0, 0.5 or 1, never between.
    right = np.repeat([True, False], 50)
    certain = {"confidence": (right, np.ones(100))}
    found = row(measured(certain, np.repeat([0, 1], 50)), "confidence", "accuracy")
    assert (found["value"], found["low"], found["high"]) == (0.5, 0, 1)
    found = row(measured(certain, np.arange(100)), "confidence", "accuracy")
    assert (found["low"], found["high"]) == pytest.approx((0.4, 0.6), abs=0.02)


def test_differences_are_of_the_same_resamples():
    # The second set hits where confidence hits and in every tenth prompt more: apart from those
    # prompts both move together, so the difference is far surer than either value.
    generator = np.random.default_rng(0)
    right = np.ones(200, dtype=bool)
    hits = generator.random(200) < 0.5
    more = hits | (np.arange(200) % 10 == 0)
    table = measured({"confidence": (right, hits * 1.0), "clusters": (right, more * 1.0)}, np.arange(200))
    better, alone = (row(table, name, "accuracy") for name in ("clusters", "confidence"))
    assert better["difference"] == pytest.approx(better["value"] - alone["value"])
    assert 0 < better["difference_low"] < better["difference"] < better["difference_high"]
    assert better["difference_high"] - better["difference_low"] < 0.7 * (better["high"] - better["low"])
    assert (alone["difference"], alone["difference_low"], alone["difference_high"]) == (0, 0, 0)


def test_shuffled_labels_are_not_compared_with_confidence():
    right = np.arange(20) % 2 == 0
    table = measured(
        {"confidence": (right, right * 1.0), "shuffled_labels": (~right, right * 1.0)}, np.arange(20)
    )
    found = row(table, "shuffled_labels", "auroc")
    assert found["value"] == 0
    assert np.isnan([found["difference"], found["difference_low"], found["difference_high"]]).all()


def test_the_base_rate_by_hand():
    # Of four prompts, half correct; naturally four of five are. Chances 1/2 and 1/9 become 4/5 and 1/3.
    right = np.array([True, True, False, False])
    sets = {"confidence": (right, np.array([1 / 2, 1 / 9, 1 / 9, 1 / 9]))}
    table = measured(sets, np.arange(4), Rates(kept=0.5, base=0.8))
    assert row(table, "confidence", "accuracy")["value"] == 0.5
    assert row(table, "confidence", "accuracy_at_base_rate")["value"] == pytest.approx(0.4 + 0.2)
    expected = 0.4 / 25 + 0.4 * 4 / 9 + 0.2 / 9
    assert row(table, "confidence", "brier_at_base_rate")["value"] == pytest.approx(expected)
    assert row(table, "confidence", "brier_skill_at_base_rate")["value"] == pytest.approx(1 - expected / 0.16)


def test_one_group_has_no_interval_and_one_outcome_no_base_rate():
    right = np.arange(6) % 2 == 0
    found = row(measured({"confidence": (right, right * 1.0)}, np.zeros(6, dtype=int)), "confidence", "auroc")
    assert found["value"] == 1
    assert np.isnan([found["low"], found["high"], found["difference_low"]]).all()
    always = measured({"confidence": (right | True, right * 1.0)}, np.arange(6), Rates(1.0, 1.0))
    assert np.isnan(row(always, "confidence", "auroc")["value"])
    assert np.isnan(row(always, "confidence", "accuracy_at_base_rate")["value"])
    assert row(always, "confidence", "accuracy")["value"] == 0.5


def test_no_prompts_give_nan():
    nothing = {"confidence": (np.array([], dtype=bool), np.array([]))}
    table = measured(nothing, np.array([], dtype=int))
    assert table.select(pl.col("value", "low", "high").is_nan().all()).row(0) == (True, True, True)
    assert set(table["prompts"]) == {0}


def test_repeats_with_its_seed():
    generator = np.random.default_rng(3)
    sets = {"confidence": (generator.random(120) < 0.5, generator.random(120))}
    groups = generator.permutation(120) % 40
    assert measured(sets, groups, seed=1).equals(measured(sets, groups, seed=1), null_equal=True)
    lows = [row(measured(sets, groups, seed=seed), "confidence", "auroc")["low"] for seed in (1, 2)]
    assert lows[0] != lows[1]


def test_differences_from_strong_stand_beside_those_from_confidence():
    right = np.arange(40) % 2 == 0
    flipped = right ^ (np.arange(40) % 3 == 0)
    sets = {
        "confidence": (right, flipped * 1.0),
        "strong": (right, right * 0.9),
        "rows": (right, right * 0.8),
    }
    table = measured(sets, np.arange(40) // 2)
    better = row(table, "rows", "auroc")
    assert better["difference"] == pytest.approx(0.35)
    assert better["difference_p"] == pytest.approx(2 / 1001)
    assert (better["over_strong"], better["over_strong_p"]) == (0, 1)
    worse = row(table, "confidence", "auroc")
    assert worse["over_strong"] == pytest.approx(-0.35)
    assert worse["over_strong_low"] < worse["over_strong_high"] < 0
    assert worse["over_strong_p"] == pytest.approx(2 / 1001)
    assert (worse["difference"], worse["difference_p"]) == (0, 1)


def test_a_p_value_says_what_its_interval_says():
    generator = np.random.default_rng(1)
    for shift in np.linspace(-3, 3, 61):
        differences = np.r_[shift, generator.normal(shift, 1, 1000)]
        low, high = np.percentile(differences[1:], [2.5, 97.5])
        p = p_value(differences)
        assert 0 < p <= 1
        if abs(p - 0.05) > 0.004:
            assert (p < 0.05) is bool(low > 0 or high < 0)
    assert np.isnan(p_value(np.array([0.3])))
    assert p_value(np.r_[0.1, np.full(10, np.nan), [0.1, 0.2, 0.3]]) == 0.5


def test_p_values_of_no_effect_are_uniform():
    """Differences of two coin flips, over 60 groups: as many p-values below 0.1 as there should be."""
    generator, groups = np.random.default_rng(2), np.arange(240) // 4
    found = []
    for _ in range(300):
        right = generator.random(240) < 0.5
        sets = [Scored(right, generator.random(240), np.zeros(240, dtype=int)) for _ in range(2)]
        weights = np.vstack([np.ones(240), resampled_weights(groups, generator)])
        one, other = (accuracy(scored, weights) for scored in sets)
        found.append(p_value(one - other))
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_holms_correction_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1 are 0.04, 0.06, 0.06 and 0.5; never falling.
    p = [0.02, 0.5, 0.01, 0.03, float("nan")]
    table = pl.DataFrame(
        {
            "task": ["a", "b", "c", "d", "e"] * 2,
            "protocol": "held_out",
            "features": "rows",
            "metric": ["auroc"] * 5 + ["accuracy"] * 5,
            "difference_p": p + [0.9] * 5,
            "over_strong_p": [float("nan")] * 5 + [0.001] + [float("nan")] * 4,
        }
    )
    found = with_holm(table)
    assert found["task"].to_list() == table["task"].to_list()
    np.testing.assert_allclose(found["difference_p_holm"][:5], [0.06, 0.5, 0.04, 0.06, np.nan])
    assert found["difference_p_holm"][5:].to_list() == [1.0] * 5
    assert found["over_strong_p_holm"].is_nan().to_list() == [True] * 5 + [False] + [True] * 4
    assert found["over_strong_p_holm"][5] == 0.001


def test_auroc_of_kind_is_over_the_prompts_of_the_kind():
    right = np.array([True, False, True, False])
    sets = {"confidence": (right, np.array([0.9, 0.1, 0.2, 0.3]))}
    table = measured(sets, np.arange(4), of_kind=np.array([False, False, True, True]))
    assert row(table, "confidence", "auroc_of_kind")["value"] == 0
    assert row(table, "confidence", "auroc")["value"] == 0.75


def test_holm_corrects_in_the_order_given_and_leaves_out_what_is_unknown():
    found = holm(np.array([0.01, 0.04, np.nan, 0.03]))
    np.testing.assert_allclose(found, [0.03, 0.06, np.nan, 0.06])
    assert len(holm(np.array([]))) == 0
