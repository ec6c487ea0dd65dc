import numpy as np
import pytest

from apmae.config import PredictionConfig
from apmae.prediction.classifiers import FEATURE_SETS, as_pool, fit_features, learnable
from apmae.prediction.metrics import auroc

CONFIG = PredictionConfig(iterations=30)


def drawn(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Right or wrong is what cluster 3 of head 5 says; statistic 7 and confidence 1 know it in part."""
    generator = np.random.default_rng(seed)
    correct = np.arange(count) % 2 == 0
    clusters = generator.integers(-1, 5, (count, 20)).astype(np.int16)
    clusters[:, 5] = np.where(correct, 3, generator.choice([-1, 0, 1, 2, 4], count))
    statistics = generator.normal(0, 1, (count, 700)).astype(np.float32)
    statistics[:, 7:57] += correct[:, None]
    confidence = generator.uniform(0, 1, (count, 3)).astype(np.float32)
    confidence[:, 1] += 0.5 * correct
    prior = np.empty((count, 0), dtype=np.float32)
    blocks = {"clusters": clusters, "row_statistics": statistics, "confidence": confidence, "prior": prior}
    return blocks, correct


def score(features: str, drop: tuple[str, ...] = ()) -> float:
    train, correct = drawn(160, seed=0)
    test, truth = drawn(200, seed=1)
    names = [name for name in features.split("+") if name not in drop]
    chosen = [{name: blocks[name] for name in names} for blocks in (train, test)]
    probability = fit_features(features, chosen[0], correct, CONFIG, 0)(chosen[1])
    assert probability.shape == (200,)
    assert ((probability >= 0) & (probability <= 1)).all()
    return float(auroc(truth, probability, np.ones(200)))


@pytest.mark.parametrize(
    ("features", "at_least"),
    [("clusters", 0.99), ("row_statistics", 0.9), ("confidence", 0.8), ("confidence+clusters", 0.99)],
)
def test_learns_what_is_there(features, at_least):
    assert score(features) > at_least


def test_prior_is_the_class_frequency():
    train, correct = drawn(40, seed=0)
    correct = correct | (np.arange(40) < 20)
    predict = fit_features("prior", {"prior": train["prior"]}, correct, CONFIG, 0)
    assert predict({"prior": np.empty((3, 0), dtype=np.float32)}).tolist() == [0.75] * 3


def test_three_confidence_columns_are_not_drowned_by_hundreds_of_noise():
    generator = np.random.default_rng(2)

    def noisy(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        blocks, correct = drawn(200, seed)
        noise = generator.normal(0, 1, (200, 2_000)).astype(np.float32)
        return {"confidence": blocks["confidence"], "row_statistics": noise}, correct

    (train, correct), (test, truth) = noisy(0), noisy(1)
    both = fit_features("confidence+row_statistics", train, correct, CONFIG, 0)(test)
    alone = fit_features("confidence", {"confidence": train["confidence"]}, correct, CONFIG, 0)(
        {"confidence": test["confidence"]}
    )
    assert auroc(truth, both, np.ones(200)) > auroc(truth, alone, np.ones(200)) - 0.03


def test_cluster_ids_are_categories_not_numbers():
    blocks, correct = drawn(40, seed=0)
    pool = as_pool({"confidence": blocks["confidence"], "clusters": blocks["clusters"]}, correct)
    assert pool.get_cat_feature_indices() == list(range(3, 23))
    assert pool.get_feature_names()[2:4] == ["confidence_2", "clusters_0"]


def test_a_cluster_that_was_not_seen_in_training_is_no_error():
    blocks, correct = drawn(40, seed=0)
    predict = fit_features("clusters", {"clusters": blocks["clusters"]}, correct, CONFIG, 0)
    assert 0 < predict({"clusters": np.full((1, 20), 99, dtype=np.int16)})[0] < 1


def test_not_learnable_without_both_outcomes_or_anything_that_varies():
    correct = np.array([True, False])
    varies, constant = np.array([[1], [2]]), np.array([[1], [1]])
    assert learnable({"clusters": constant, "confidence": varies}, correct)
    assert not learnable({"clusters": constant}, correct)
    assert not learnable({"clusters": varies}, np.array([True, True]))
    assert not learnable({"clusters": varies}, np.array([False, False]))
    assert not learnable({"clusters": varies[:0]}, correct[:0])


@pytest.mark.parametrize("features", FEATURE_SETS)
def test_one_outcome_is_predicted_as_the_prior(features):
    train, _ = drawn(20, seed=0)
    chosen = {name: train[name] for name in features.split("+")}
    predict = fit_features(features, chosen, np.ones(20, dtype=bool), CONFIG, 0)
    assert predict(chosen).tolist() == [1.0] * 20


def test_one_prompt_of_an_outcome_is_enough_to_fit():
    train, _ = drawn(20, seed=0)
    predict = fit_features("confidence", {"confidence": train["confidence"]}, np.arange(20) == 3, CONFIG, 0)
    assert predict({"confidence": train["confidence"]}).argmax() in range(20)
