import numpy as np
import polars as pl
import pytest
from catboost import CatBoostClassifier
from polars.testing import assert_frame_equal
from synthetic import TELLING_HEAD, TELLING_LAYER, synthetic_study

from apmae import clustering, prediction
from apmae.prediction.classifiers import FEATURE_SETS, as_pool
from apmae.prediction.features import load_blocks
from apmae.progress import silent
from apmae.study import (
    CLUSTERS,
    IMPORTANCE_SCHEMA,
    METRICS_SCHEMA,
    PREDICTIONS_SCHEMA,
    PREDICTOR,
    PROMPTS,
    Study,
)

TASKS = ("eol", "noise")


def clustered(directory, *, processes=1, folds=4, **options) -> Study:
    config = {
        "clustering": {"n_clusters": 2, "processes": 1},
        "prediction": {"iterations": 20, "folds": folds, "processes": processes},
    }
    study = synthetic_study(directory, config=config, **{"tasks": TASKS, **options})
    clustering.run(study, "k", silent, lambda prompt, heads: np.zeros((len(heads), 16, 16)))
    return study


def value(study: Study, protocol: str, features: str, metric: str = "auroc") -> float:
    return study.metrics.filter(protocol=protocol, features=features, metric=metric)["value"].item()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = clustered(tmp_path_factory.mktemp("finished") / "s", per_task=120)
    counts = prediction.run(study, "k", silent)
    return study, counts


def test_counts(finished):
    study, counts = finished
    assert counts == {"tasks": 1, "predictions": study.predictions.height, "notes": []}


def test_the_telling_head_is_found(finished):
    study, _ = finished
    for protocol in ("cross_validation", "held_out"):
        assert value(study, protocol, "clusters") > 0.98
        assert value(study, protocol, "confidence+clusters") > 0.98
        assert value(study, protocol, "row_statistics") > 0.7
        assert value(study, protocol, "prior") == 0.5
    table = study.importance
    best = table.row(table["max_difference"].arg_max(), named=True)
    assert (best["layer"], best["head"]) == (TELLING_LAYER, TELLING_HEAD)


def test_tables_have_every_row(finished):
    study, _ = finished
    assert dict(study.predictions.schema) == PREDICTIONS_SCHEMA
    assert dict(study.metrics.schema) == METRICS_SCHEMA
    assert dict(study.importance.schema) == IMPORTANCE_SCHEMA
    assert study.metrics.height == 2 * len(FEATURE_SETS) * 2
    assert study.importance.select("task", "layer", "head").rows() == [
        ("eol", layer, head) for layer in range(2) for head in range(2)
    ]
    prompts = study.study_prompts.filter(task="eol")
    in_test = prompts.filter(split="test")["prompt_id"].to_list()
    for features in FEATURE_SETS:
        chosen = study.predictions.filter(features=features)
        tested = chosen.filter(protocol="cross_validation")
        assert tested["prompt_id"].sort().to_list() == prompts["prompt_id"].to_list()
        assert tested["fold"].unique().sort().to_list() == [0, 1, 2, 3]
        assert chosen.filter(protocol="held_out")["prompt_id"].to_list() == in_test


def test_metrics_are_those_of_the_predictions(finished):
    study, _ = finished
    table = study.predictions.join(study.study_prompts, on="prompt_id")
    chosen = table.filter(protocol="cross_validation", features="confidence")
    hits = chosen.with_columns(hit=(pl.col("probability") > 0.5) == pl.col("correct"))
    by_fold = hits.group_by("fold").agg(pl.col("hit").mean())
    assert value(study, "cross_validation", "confidence", "accuracy") == pytest.approx(by_fold["hit"].mean())
    row = study.metrics.filter(protocol="held_out", features="confidence", metric="accuracy").row(
        0, named=True
    )
    assert row["low"] < row["value"] < row["high"]
    assert row["prompts"] == 30


def test_predictor_is_the_held_out_model(finished):
    study, _ = finished
    model = CatBoostClassifier().load_model(str(study.path(PREDICTOR) / "eol.cbm"))
    test = study.study_prompts.filter(task="eol", split="test")
    blocks = load_blocks(["clusters"], study, test, "held_out")
    stored = study.predictions.filter(protocol="held_out", features="clusters")["probability"]
    np.testing.assert_allclose(model.predict_proba(as_pool(blocks))[:, 1], stored, rtol=1e-5)


def test_blocks_are_those_of_their_prompts(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol", split="test")
    blocks = load_blocks(["clusters", "row_statistics", "confidence"], study, prompts, "held_out")
    table = study.clusters.filter(prompt_id=prompts["prompt_id"][5])
    assert blocks["clusters"][5].tolist() == table["cluster_held_out"].to_list()
    crossed = load_blocks(["clusters"], study, prompts, "cross_validation")
    assert crossed["clusters"][5].tolist() == table["cluster"].to_list()
    statistics = study.encodings["row_statistics"][:, prompts["prompt_id"][5], :]
    np.testing.assert_array_equal(blocks["row_statistics"][5], statistics.ravel())
    expected = prompts.select("max_probability", "margin", "entropy").row(5)
    assert blocks["confidence"][5].tolist() == list(expected)


def test_outcomes_that_nothing_tells_are_predicted_at_chance(tmp_path):
    study = clustered(tmp_path / "s", per_task=200, informative=False)
    prediction.run(study, "k", silent)
    for features in ("clusters", "row_statistics", "confidence+row_statistics"):
        assert abs(value(study, "cross_validation", features) - 0.5) < 0.15


def test_number_of_processes_does_not_matter(tmp_path):
    studies = [clustered(tmp_path / str(n), processes=n, folds=2) for n in (1, 2)]
    for study in studies:
        prediction.run(study, "k", silent)
    for table in ("predictions", "metrics", "importance"):
        assert_frame_equal(*(getattr(study, table) for study in studies))


def test_killed_and_resumed_equals_unkilled(tmp_path, finished):
    def killed(items, description, total=None):
        for number, item in enumerate(items):
            if number == 5:
                raise KeyboardInterrupt
            yield item

    unkilled, _ = finished
    study = clustered(tmp_path / "s", per_task=120)
    with pytest.raises(KeyboardInterrupt):
        prediction.run(study, "k", killed)
    kept = {path: path.stat().st_mtime_ns for path in study.work_directory("predict", "k").glob("*.parquet")}
    assert 5 <= len(kept) < 12
    prediction.run(study, "k", silent)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for table in ("predictions", "metrics", "importance"):
        assert_frame_equal(getattr(study, table), getattr(unkilled, table))


def changed(study: Study, artifact: str, **columns: pl.Expr) -> None:
    pl.read_parquet(study.path(artifact)).with_columns(**columns).write_parquet(study.path(artifact))


def test_one_outcome_only_goes_on_and_says_so(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, PROMPTS, correct=pl.when(pl.col("task") == "eol").then(True))
    counts = prediction.run(study, "k", silent)
    assert counts["notes"] == [
        "eol: 0 folds instead of 4, for want of right or wrong prompts",
        "eol: no wrong prompt in the train split",
        "eol: no wrong prompt in the test split",
        "eol: no predictor, for want of outcomes or clusters to tell apart",
    ]
    assert study.metrics.filter(metric="auroc")["value"].is_nan().all()
    assert value(study, "held_out", "clusters", "accuracy") == 1
    assert (study.importance["max_difference"] == 0).all()
    assert list(study.path(PREDICTOR).iterdir()) == []


def test_heads_of_one_cluster_predict_the_prior(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, CLUSTERS, cluster=pl.lit(-1, pl.Int16), cluster_held_out=pl.lit(-1, pl.Int16))
    counts = prediction.run(study, "k", silent)
    assert counts["notes"] == ["eol: no predictor, for want of outcomes or clusters to tell apart"]
    assert value(study, "held_out", "clusters") == 0.5


def test_a_task_without_training_prompts_goes_on(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, PROMPTS, split=pl.lit("test"))
    counts = prediction.run(study, "k", silent)
    assert counts["notes"][:2] == [f"eol: no {kind} prompt in the train split" for kind in ("right", "wrong")]
    row = study.metrics.filter(protocol="held_out", features="clusters", metric="auroc").row(0, named=True)
    assert np.isnan([row["value"], row["low"], row["high"]]).all()
    assert row["prompts"] == 0
    assert (study.importance["mean_shap"] == 0).all()
    assert value(study, "cross_validation", "clusters") > 0.9
