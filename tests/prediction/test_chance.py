"""Outcomes that nothing tells, and outcomes that only the file tells, through the whole stage."""

import numpy as np
import polars as pl
import pytest
from helpers.studies import context_of
from helpers.synthetic import synthetic_study

from apmae.prediction import stage
from apmae.prediction.classifiers import fit_features
from apmae.prediction.features import measured_sets, take
from apmae.prediction.measurement import AUROC_VARIANTS
from apmae.prediction.metrics import Scored, auroc
from apmae.prediction.protocols import cross_validation
from apmae.study import Study
from apmae.study.artifacts import CLUSTERS, PROMPTS
from apmae.study.config import PredictionConfig

TASKS = ("eol", "identifiers")
FEATURES = ("clusters", "row_statistics", "strong+row_statistics")
PROTOCOLS = ("cross_validation", "grouped_cross_validation", "held_out")


def study_of(directory, tasks, rate_of_group, seed) -> Study:
    """A study whose outcomes are coin flips, by each group's own frequency of heads.

    Predicted tokens and confidence are drawn apart from the outcomes, since nothing may tell them.
    """
    config = {"prediction": {"iterations": 10, "folds": 2, "processes": 1, "features": FEATURES}}
    study = synthetic_study(directory, tasks=tasks, per_task=120, informative=False, config=config)
    generator = np.random.default_rng(seed)
    count = 120 * len(tasks)
    file = np.arange(count) // (3 * len(tasks))  # of three prompts of every task; two make a group
    group = file // 2
    prompts = pl.read_parquet(study.path(PROMPTS)).with_columns(
        file=pl.Series([f"g{of}/F{number}.java" for number, of in zip(file, group, strict=True)]),
        group=pl.Series([f"g{number}" for number in group]),
        split=pl.Series(np.where(group % 3 == 2, "test", "train")),
        correct=pl.Series(generator.random(count) < rate_of_group(generator, group.max() + 1)[group]),
        predicted_id=pl.Series(generator.integers(0, 6, count)),
        next_token_id=pl.Series(generator.integers(0, 4, count)),
        **{name: pl.Series(generator.random(count)) for name in ("max_probability", "margin", "entropy")},
    )
    study.write(PROMPTS, prompts)
    places = [(prompt, head // 2, head % 2) for head in range(4) for prompt in range(count)]
    clusters = pl.DataFrame(places, schema=["prompt_id", "layer", "head"], orient="row")
    drawn = pl.Series(generator.integers(0, 3, 4 * count))
    columns = [name for name in CLUSTERS.columns if "cluster" in name]
    study.write(CLUSTERS, clusters.with_columns(drawn.alias(name) for name in columns))
    stage.run(context_of(study))
    return study


def aurocs(study: Study, metric: str = "auroc") -> pl.DataFrame:
    return study.metrics.filter(metric=metric)


@pytest.fixture(scope="module")
def fair(tmp_path_factory):
    """Two tasks of fair coins."""
    return study_of(tmp_path_factory.mktemp("fair") / "s", TASKS, lambda _, groups: np.full(groups, 0.5), 0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A task of loaded coins: in every other group nine of ten completions are correct, else one of ten."""
    rates = lambda generator, groups: generator.permutation(np.resize([0.9, 0.1], groups))  # noqa: E731
    return study_of(tmp_path_factory.mktemp("loaded") / "s", TASKS[:1], rates, 1)


def test_coin_flips_are_predicted_at_chance_by_every_feature_set(fair):
    table = aurocs(fair)
    measured = {protocol: measured_sets(fair.config, protocol) for protocol in PROTOCOLS}
    assert {"file_memory", "strong", "token_kind", "strong+row_statistics"} <= set(measured["held_out"])
    assert table.height == len(TASKS) * sum(map(len, measured.values()))
    assert table["value"].mean() == pytest.approx(0.5, abs=0.1)
    # The sets have blocks in common, so they miss chance together.
    assert table.select(((pl.col("low") <= 0.5) & (pl.col("high") >= 0.5)).mean()).item() > 0.8
    of_set = table.group_by("protocol", "features").agg(pl.col("value").mean())
    assert of_set["value"].is_between(0.3, 0.67).all()
    for p in ("difference_p_holm", "over_strong_p_holm"):  # all differences of a task share a reference
        assert table.select((pl.col(p) < 0.05).mean()).item() < 0.2


@pytest.mark.parametrize("balanced", [False, True], ids=["fair coins", "balanced within files"])
def test_memory_of_coin_flips_is_at_chance(balanced):
    """Of many studies, since one has a wide interval. Balanced: two of each file's four are correct."""
    found = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        files = np.arange(120) // 4
        correct = generator.random(120) < 0.5
        if balanced:
            correct = np.argsort(generator.random((30, 4)), axis=1).ravel() < 2
        block = {"file_memory": np.stack([files, files // 2], axis=1)}
        probability, number = np.empty(120), np.empty(120, dtype=np.int64)
        for fold, (train, test) in enumerate(cross_validation(correct, 5, seed)):
            fitted = fit_features(
                take(block, train), correct[train], files[train] // 2, PredictionConfig(), seed
            )
            probability[test], number[test] = fitted(take(block, test)), fold
        found.append(float(auroc(Scored(correct, probability, number), np.ones(120))))
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)


def test_an_effect_of_groups_is_remembered_under_random_folds_only(loaded):
    memory = {
        protocol: aurocs(loaded).filter(protocol=protocol, features="file_memory") for protocol in PROTOCOLS
    }
    assert memory["cross_validation"]["low"].item() > 0.7
    assert memory["held_out"]["value"].item() == 0.5
    assert memory["grouped_cross_validation"]["value"].item() == 0.5


def test_an_effect_of_groups_raises_no_auroc_within_groups(loaded):
    within, _ = AUROC_VARIANTS
    memory = aurocs(loaded, within).filter(protocol="cross_validation", features="file_memory")
    assert memory["low"].item() < 0.5


def test_an_effect_of_groups_raises_no_held_out_auroc(loaded):
    table = aurocs(loaded).filter(protocol="held_out")
    assert table["value"].mean() == pytest.approx(0.5, abs=0.1)
    assert (table["low"] > 0.5).mean() < 0.2
