import numpy as np
import polars as pl
import pytest
from helpers.synthetic import synthetic_study

from apmae.prediction.explanation import explain, head_shap
from apmae.prediction.importance import head_importance
from apmae.study import Study
from apmae.study.artifacts import CLUSTERS, PROMPTS

N_GROUPS, PER_GROUP = 16, 12
GROUPS = np.repeat(np.arange(N_GROUPS), PER_GROUP)


@pytest.fixture
def memory(tmp_path) -> Study:
    """Head (0, 0) has a pattern for each package, and most outcomes of a package agree; the rest is noise."""
    generator = np.random.default_rng(0)
    study = synthetic_study(tmp_path / "s", per_task=len(GROUPS))
    mostly = generator.permutation(N_GROUPS) % 2 == 0
    correct = np.where(generator.random(len(GROUPS)) < 0.9, mostly[GROUPS], ~mostly[GROUPS])
    prompts = study.prompts.with_columns(split=np.full(len(GROUPS), "train"), correct=correct)
    study.write(PROMPTS, prompts)
    clusters = generator.integers(0, 3, (4, len(GROUPS)))
    clusters[0] = GROUPS
    ids = clusters.ravel()
    rows = {"cluster": ids, "cluster_held_out": ids}
    rows["prompt_id"] = np.tile(np.arange(len(GROUPS)), 4)
    rows["layer"], rows["head"] = np.divmod(np.repeat(np.arange(4), len(GROUPS)), 2)
    empty = pl.lit(None, pl.Int16)
    study.write(
        CLUSTERS, pl.DataFrame(rows).with_columns(random_cluster=empty, random_cluster_held_out=empty)
    )
    return study


def test_a_head_that_knows_the_package_is_important_in_sample_only(memory, tmp_path):
    train = memory.prompts
    path = tmp_path / "model.cbm"
    table = explain(memory, train, "clusters", GROUPS, 0, path)
    assert path.exists()

    everything = np.arange(len(GROUPS))
    clusters = memory.clusters["cluster_held_out"].to_numpy().reshape(4, -1).T
    correct = train["correct"].to_numpy()
    config = memory.config.prediction
    fitted = head_shap({"clusters": clusters}, correct, GROUPS, everything, 4, config, 0)
    in_sample = head_importance(fitted, clusters)
    assert in_sample["max_difference"][0] > 3
    assert in_sample["mean_positive"][0] > 1
    # What is left stems from the folds' models, whose constants differ.
    for measure in ("max_difference", "mean_positive", "mean_absolute"):
        assert table[measure][0] < 0.3 * in_sample[measure][0]


def test_one_group_has_no_importance(memory, tmp_path):
    table = explain(memory, memory.prompts, "clusters", np.zeros_like(GROUPS), 0, tmp_path / "model.cbm")
    assert table["max_difference"].to_list() == [0] * 4
    assert table["rank_correlation"].is_nan().all()
