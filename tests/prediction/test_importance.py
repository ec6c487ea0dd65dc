import numpy as np
import pytest
from catboost import CatBoostClassifier
from scipy.stats import spearmanr

from apmae.prediction.importance import head_importance, stability
from apmae.prediction.trees import as_pool, fit_catboost, shap_values
from apmae.study.config import PredictionConfig


def test_head_importance_by_hand():
    # Head 0: clusters 0, 0, 1, -1 have means 0.2, -0.3 and 0.5. Head 1 has one cluster. Ten prompts each.
    shap = np.repeat([[0.1, 0.2], [0.3, -0.2], [-0.3, 0.4], [0.5, -0.4]], 10, axis=0)
    clusters = np.repeat(np.array([[0, 0], [0, 0], [1, 0], [-1, 0]], dtype=np.int16), 10, axis=0)
    table = head_importance(shap, clusters)
    assert table["max_difference"].to_list() == pytest.approx([0.8, 0])
    assert table["mean_positive"].to_list() == pytest.approx([0.3, 0.3])
    assert table["mean_negative"].to_list() == pytest.approx([-0.3, -0.3])
    assert table["mean_absolute"].to_list() == pytest.approx([0.3, 0.3])
    assert table["mean_shap"].to_list() == pytest.approx([0.15, 0])


def test_a_cluster_counts_from_ten_prompts_on():
    shap = np.concatenate([np.zeros(20), np.ones(10)])[:, None]
    clusters = np.repeat([0, 1, 2], [11, 9, 10])[:, None].astype(np.int16)
    assert head_importance(shap, clusters)["max_difference"].to_list() == [1]
    shap[11:20] = 5  # nine prompts, however extreme
    assert head_importance(shap, clusters)["max_difference"].to_list() == [1]
    assert head_importance(shap[:9], clusters[:9])["max_difference"].to_list() == [0]


def test_rare_strong_signs_are_told_from_frequent_weak_ones():
    """Both heads' values average to zero, as those of fitted prompts do."""
    shap = np.array([[0.9, -0.9], [-0.3, 0.3], [-0.3, 0.3], [-0.3, 0.3]])
    table = head_importance(shap, np.zeros((4, 2), dtype=np.int16))
    assert table["mean_positive"].to_list() == pytest.approx([0.9, 0.3])
    assert table["mean_negative"].to_list() == pytest.approx([-0.3, -0.9])


def test_a_head_without_values_of_a_sign():
    table = head_importance(np.array([[0.0, 0.2], [0.0, 0.0]]), np.zeros((2, 2), dtype=np.int16))
    assert table["mean_positive"].to_list() == pytest.approx([0, 0.2])
    assert table["mean_negative"].to_list() == [0, 0]


def deciding_head() -> tuple[CatBoostClassifier, dict[str, np.ndarray], np.ndarray]:
    """Head 3 of six decides; three quarters are correct."""
    generator = np.random.default_rng(0)
    correct = np.arange(120) % 4 != 0
    clusters = generator.integers(-1, 3, (120, 6)).astype(np.int16)
    clusters[:, 3] = correct
    blocks = {"clusters": clusters}
    return fit_catboost(blocks, correct, PredictionConfig(iterations=40), 0), blocks, correct


def test_shap_values_and_bias_add_up_to_the_raw_score():
    model, blocks, _ = deciding_head()
    values, bias = shap_values(model, blocks)
    assert values.shape == (120, 6)
    raw = model.predict(as_pool(blocks), prediction_type="RawFormulaVal")
    np.testing.assert_allclose(values.sum(1) + bias, raw, atol=1e-6)
    assert np.ptp(bias) == 0
    assert np.ptp(values, axis=0).max() > 1


def test_the_head_that_decides_is_the_important_one():
    model, blocks, correct = deciding_head()
    values, _ = shap_values(model, blocks)
    table = head_importance(values, blocks["clusters"])
    assert table["max_difference"].arg_max() == 3
    by_hand = values[correct, 3].mean() - values[~correct, 3].mean()
    assert table["max_difference"][3] == pytest.approx(by_hand)
    assert table["max_difference"].sort()[-2] < 0.2 * by_hand


def test_stability_by_hand():
    # Folds agree on all of 12 heads but the last two, which change places: Spearman's rank correlation
    # is 1 - 6 (1 + 1) / (12 (144 - 1)). Heads 10 and 11 are foremost in one fold each.
    first = np.arange(12, 0, -1.0)
    second = first.copy()
    second[[9, 10]] = second[[10, 9]]
    table = stability(np.stack([first, second]))
    assert table["top_fraction"].to_list() == [1] * 9 + [0.5, 0.5, 0]
    assert table["rank_correlation"].to_list() == pytest.approx([1 - 12 / (12 * 143)] * 12)


def test_heads_without_importance_are_foremost_in_no_fold():
    table = stability(np.array([[0.5, 0, 0], [0.2, 0, 0]]))
    assert table["top_fraction"].to_list() == [1, 0, 0]
    assert table["rank_correlation"].to_list() == pytest.approx([1, 1, 1])


def test_rank_correlation_is_the_mean_over_pairs_of_folds():
    generator = np.random.default_rng(0)
    by_fold = generator.random((3, 20))
    expected = spearmanr(by_fold, axis=1).statistic[np.triu_indices(3, 1)].mean()
    assert stability(by_fold)["rank_correlation"][0] == pytest.approx(expected)


def test_no_two_folds_have_no_stability():
    assert stability(np.ones((1, 4)))["top_fraction"].is_nan().all()
    assert stability(np.ones((0, 4)))["rank_correlation"].is_nan().all()
    assert stability(np.zeros((2, 4)))["rank_correlation"].is_nan().all()
