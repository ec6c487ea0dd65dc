import numpy as np
import pytest

from apmae.prediction.classifiers import fit_features, learnable, uses_trees
from apmae.prediction.metrics import Scored, auroc
from apmae.prediction.trees import as_pool, fit_catboost
from apmae.study.config import PredictionConfig

CONFIG = PredictionConfig(iterations=30)


def drawn(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Correct or incorrect is what cluster 3 of head 5 says; statistic 7 and confidence 1 know it in part."""
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


def fitted(blocks: dict[str, np.ndarray], correct: np.ndarray):
    return fit_features(blocks, correct, np.arange(len(correct)) // 2, CONFIG, 0)


def area(correct: np.ndarray, probability: np.ndarray) -> float:
    scored = Scored(correct, probability, np.zeros(len(correct), dtype=int))
    return float(auroc(scored, np.ones(len(correct))))


def score(features: str) -> float:
    (train, correct), (test, truth) = drawn(160, seed=0), drawn(200, seed=1)
    chosen = [{name: blocks[name] for name in features.split("+")} for blocks in (train, test)]
    probability = fitted(chosen[0], correct)(chosen[1])
    assert probability.shape == (200,)
    assert ((probability >= 0) & (probability <= 1)).all()
    return area(truth, probability)


@pytest.mark.parametrize(
    ("features", "at_least"),
    [("clusters", 0.99), ("row_statistics", 0.9), ("confidence", 0.8), ("confidence+clusters", 0.97)],
)
def test_learns_what_is_there(features, at_least):
    assert score(features) > at_least


def test_clusters_alone_go_to_the_trees_of_the_paper():
    blocks, _ = drawn(4, seed=0)
    assert uses_trees({"clusters": blocks["clusters"]})
    assert uses_trees({"random_clusters": blocks["clusters"]})
    assert not uses_trees({"clusters": blocks["clusters"], "confidence": blocks["confidence"]})
    assert not uses_trees({"row_statistics": blocks["row_statistics"]})


def test_early_stopping_leaves_a_tenth_out_and_ends_before_the_last_tree():
    generator = np.random.default_rng(0)
    blocks = {"clusters": generator.integers(0, 4, (200, 6)).astype(np.int16)}
    correct = np.arange(200) % 2 == 0
    trees = {
        rounds: fit_catboost(
            blocks, correct, PredictionConfig(iterations=60, early_stopping_rounds=rounds), 0
        )
        for rounds in (None, 5)
    }
    assert trees[None].tree_count_ == 60
    assert trees[5].tree_count_ < 60
    assert set(trees[5].get_evals_result()) == {"learn", "validation"}
    # An outcome of one row cannot be in both parts.
    lonely = np.arange(200) == 0
    config = PredictionConfig(iterations=7, early_stopping_rounds=5)
    assert fit_catboost(blocks, lonely, config, 0).tree_count_ == 7


def test_prior_is_the_class_frequency():
    train, correct = drawn(40, seed=0)
    predict = fitted({"prior": train["prior"]}, correct | (np.arange(40) < 20))
    assert predict({"prior": np.empty((3, 0), dtype=np.float32)}).tolist() == [0.75] * 3


def test_three_confidence_columns_are_not_drowned_by_hundreds_of_noise():
    generator = np.random.default_rng(2)

    def noisy(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        blocks, correct = drawn(200, seed)
        noise = generator.normal(0, 1, (200, 2_000)).astype(np.float32)
        return {"confidence": blocks["confidence"], "row_statistics": noise}, correct

    (train, correct), (test, truth) = noisy(0), noisy(1)
    both = fitted(train, correct)(test)
    alone = fitted({"confidence": train["confidence"]}, correct)({"confidence": test["confidence"]})
    assert area(truth, both) > area(truth, alone) - 0.03


def test_cluster_ids_are_categories_not_numbers():
    blocks, correct = drawn(40, seed=0)
    pool = as_pool({"confidence": blocks["confidence"], "clusters": blocks["clusters"]}, correct)
    assert pool.get_cat_feature_indices() == list(range(3, 23))
    assert pool.get_feature_names()[2:4] == ["confidence_2", "clusters_0"]


@pytest.mark.parametrize("features", ["clusters", "confidence+clusters"])
def test_a_cluster_that_was_not_seen_in_training_is_no_error(features):
    blocks, correct = drawn(40, seed=0)
    chosen = {name: blocks[name] for name in features.split("+")}
    new = {name: block[:1] for name, block in chosen.items()}
    new["clusters"] = np.full((1, 20), 99, dtype=np.int16)
    assert 0 < fitted(chosen, correct)(new)[0] < 1


def test_not_learnable_without_both_outcomes_or_anything_that_varies():
    correct = np.array([True, False])
    varies, constant = np.array([[1], [2]]), np.array([[1], [1]])
    assert learnable({"clusters": constant, "confidence": varies}, correct)
    assert not learnable({"clusters": constant}, correct)
    assert not learnable({"clusters": varies}, np.array([True, True]))
    assert not learnable({"clusters": varies}, np.array([False, False]))
    assert not learnable({"clusters": varies[:0]}, correct[:0])


@pytest.mark.parametrize("features", ["clusters", "row_statistics", "confidence+clusters", "prior"])
def test_one_outcome_is_predicted_as_the_prior(features):
    train, _ = drawn(20, seed=0)
    chosen = {name: train[name] for name in features.split("+")}
    assert fitted(chosen, np.ones(20, dtype=bool))(chosen).tolist() == [1.0] * 20


def test_one_prompt_of_an_outcome_is_enough_to_fit():
    train, _ = drawn(20, seed=0)
    chosen = {"confidence": train["confidence"]}
    assert fitted(chosen, np.arange(20) == 3)(chosen).argmax() in range(20)
