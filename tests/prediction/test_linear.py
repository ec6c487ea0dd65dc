import numpy as np
import pytest
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from apmae.prediction import linear
from apmae.prediction.linear import Columns, LinearModel

GROUPS = np.arange(60) // 3
CORRECT = np.arange(60) % 2 == 0


def drawn(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    clusters = generator.integers(-1, 3, (60, 4)).astype(np.int16)
    clusters[:, 2] = CORRECT ^ (generator.random(60) < 0.2)
    numbers = generator.normal(5, 2, (60, 6)).astype(np.float32)
    numbers[:, 1] += 2 * CORRECT
    return {"clusters": clusters, "row_statistics": numbers}


def test_a_block_is_standardised_to_a_total_variance_of_one():
    # Column 0 has mean 2 and deviation 1, column 1 is constant, column 2 has mean 0 and deviation 4.
    block = np.array([[1, 7, 4], [3, 7, -4]], dtype=np.float32)
    columns = Columns.fit(block)
    np.testing.assert_allclose(columns.standardise(block) * 2**0.5, [[-1, 0, 1], [1, 0, -1]])
    new = np.array([[2, 8, -2]], dtype=np.float32)
    np.testing.assert_allclose(columns.standardise(new) * 2**0.5, [[0, 0, -0.5]])


def test_columns_of_one_unit_keep_their_relative_spread():
    block = np.array([[0, 7, 3], [2, 7, 9]], dtype=np.float32)
    standardised = Columns.fit(block, one_unit=True).standardise(block)
    np.testing.assert_allclose(standardised * 10**0.5, [[-1, 0, -3], [1, 0, 3]], rtol=1e-6)
    blocks = {"copy_attention": block.repeat(30, axis=0) + np.arange(60)[:, None].astype(np.float32) % 2 / 10}
    columns = LinearModel.fit(blocks, CORRECT, GROUPS, 0).columns["copy_attention"]
    assert len(set(columns.scale[np.isfinite(columns.scale)])) == 1


def test_new_rows_are_clamped_to_what_training_rows_had():
    blocks = drawn()
    blocks["row_statistics"][:, 3] = 1 + 1e-4 * CORRECT  # hardly varies, and tells the outcome
    model = LinearModel.fit(blocks, CORRECT, GROUPS, 0)
    right = {name: block[CORRECT][:1].copy() for name, block in blocks.items()}
    far = {name: block.copy() for name, block in right.items()}
    far["row_statistics"][:, 3] = 2
    np.testing.assert_array_equal(model.log_odds(far), model.log_odds(right))
    parts = model.shap_values("row_statistics", far["row_statistics"])
    np.testing.assert_array_equal(parts, model.shap_values("row_statistics", right["row_statistics"]))


def test_categories_become_indicators_and_new_ones_none():
    block = np.array([[0, -1], [1, -1], [0, 4], [1, 4]], dtype=np.int16)
    columns = Columns.fit(block)
    assert columns.source.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(columns.standardise(block)[0] * 2, [1, -1, 1, -1])
    np.testing.assert_allclose(
        columns.standardise(np.array([[9, 4]], dtype=np.int16))[0] * 2, [-1, -1, -1, 1]
    )


def test_equals_scikit_learns_regression_on_standardised_columns(monkeypatch):
    monkeypatch.setattr(linear, "INVERSE_PENALTIES", (2.0,))
    numbers = {"row_statistics": drawn()["row_statistics"]}
    model = LinearModel.fit(numbers, CORRECT, GROUPS, 0)
    block = numbers["row_statistics"].astype(np.float64)
    scaled = (block - block.mean(0)) / block.std(0) / 6**0.5
    exact = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(scaled, CORRECT)
    np.testing.assert_allclose(model.log_odds(numbers), exact.decision_function(scaled), atol=2e-4)


def test_a_wide_block_is_reduced_as_by_scikit_learns_components(monkeypatch):
    monkeypatch.setattr(linear, "INVERSE_PENALTIES", (10.0,))
    monkeypatch.setattr(linear, "COMPONENTS", 3)
    wide = np.random.default_rng(1).normal(0, 1, (60, 200)).astype(np.float32)
    wide[:, :40] += np.outer(CORRECT, np.ones(40)) * 0.5
    model = LinearModel.fit({"cls_encodings": wide}, CORRECT, GROUPS, 0)
    scaled = (wide - wide.mean(0)) / wide.std(0) / 200**0.5
    components = PCA(3, svd_solver="full").fit_transform(scaled.astype(np.float64))
    exact = LogisticRegression(C=10.0, tol=1e-10, max_iter=10_000).fit(components, CORRECT)
    np.testing.assert_allclose(
        model.log_odds({"cls_encodings": wide}), exact.decision_function(components), atol=2e-4
    )


def test_shap_values_of_all_blocks_and_the_bias_add_up_to_the_log_odds():
    blocks, new = drawn(), drawn(seed=1)
    model = LinearModel.fit(blocks, CORRECT, GROUPS, 0)
    values = {name: model.shap_values(name, block) for name, block in new.items()}
    assert {name: found.shape for name, found in values.items()} == {
        "clusters": (60, 4),
        "row_statistics": (60, 6),
    }
    total = model.bias + sum(found.sum(1) for found in values.values())
    np.testing.assert_allclose(total, model.log_odds(new), atol=1e-5)
    of_training = [model.shap_values(name, block).mean(0) for name, block in blocks.items()]
    np.testing.assert_allclose(np.concatenate(of_training), 0, atol=1e-5)


def test_the_columns_that_tell_are_the_ones_that_move():
    blocks = drawn()
    model = LinearModel.fit(blocks, CORRECT, GROUPS, 0)
    assert np.abs(model.shap_values("clusters", blocks["clusters"])).mean(0).argmax() == 2
    assert np.abs(model.shap_values("row_statistics", blocks["row_statistics"])).mean(0).argmax() == 1


def test_probabilities_of_noise_stay_near_the_class_frequency():
    generator = np.random.default_rng(3)
    noise, new = ({"row_statistics": generator.normal(0, 1, (60, 900)).astype(np.float32)} for _ in range(2))
    right = np.arange(60) % 4 > 0
    chances = expit(LinearModel.fit(noise, right, GROUPS, 0).log_odds(new))
    assert chances == pytest.approx(np.full(60, 0.75), abs=0.1)


def test_the_penalty_is_chosen_on_groups_left_out():
    # Every group has a column of its own that gives its outcome away: of use within a group only.
    groups = np.repeat(np.arange(20), 3)
    right = groups % 2 == 0
    own = (groups[:, None] == np.arange(20)).astype(np.float32)
    model = LinearModel.fit({"row_statistics": own}, right, groups, 0)
    leaking = LinearModel.fit({"row_statistics": own}, right, np.arange(60), 0)
    assert np.abs(model.log_odds({"row_statistics": own})).max() < 0.1
    assert np.abs(leaking.log_odds({"row_statistics": own})).min() > 1


def test_one_row_of_an_outcome_is_enough():
    numbers = {"row_statistics": drawn()["row_statistics"]}
    assert np.isfinite(LinearModel.fit(numbers, np.arange(60) == 3, GROUPS, 0).log_odds(numbers)).all()
