from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
import zarr
from catboost import CatBoostClassifier
from helpers.studies import context_of
from helpers.synthetic import TELLING_HEAD, TELLING_LAYER, synthetic_study
from polars.testing import assert_frame_equal
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from apmae.clustering import stage as clustering_stage
from apmae.common.errors import ApmaeError
from apmae.prediction import metrics, stage
from apmae.prediction.features import SHUFFLED, PassFeatures, StoredFeatures, feature_sets, measured_sets
from apmae.prediction.measurement import AUROC_VARIANTS
from apmae.prediction.metrics import RATE_DEPENDENT, weights_at_rate
from apmae.prediction.predictor import load_predictors
from apmae.prediction.stage import labels
from apmae.prediction.trees import as_pool
from apmae.study import Study
from apmae.study.artifacts import (
    CLUSTERS,
    ENCODINGS,
    IMPORTANCE,
    METRICS,
    PREDICTIONS,
    PREDICTOR,
    PROMPTS,
    TASKS,
)
from apmae.study.config import StudyConfig
from apmae.vocabulary import BLOCKS

TELLING = (TELLING_LAYER, TELLING_HEAD)
NAMES = ("eol", "noise")
FEATURES = ("clusters", "row_statistics", "cls_encodings", "confidence+clusters", "confidence+row_statistics")


def clustered(directory, *, processes=1, folds=4, random_encoder=False, **options) -> Study:
    config = {
        "clustering": {"n_clusters": 2, "processes": 1},
        "prediction": {
            "iterations": 20,
            "folds": folds,
            "processes": processes,
            "features": FEATURES,
            "scorer": "confidence+row_statistics",
        },
        "encoding": {"random_encoder": random_encoder},
    }
    study = synthetic_study(directory, config=config, **{"tasks": NAMES, **options})
    nothing = lambda prompt, heads: np.zeros((len(heads), 16, 16))  # noqa: E731
    with patch.object(clustering_stage, "pattern_source", lambda study, target: nothing):
        clustering_stage.run(context_of(study, object()))
    return study


def value(study: Study, protocol: str, features: str, metric: str = "auroc") -> float:
    return study.metrics.filter(protocol=protocol, features=features, metric=metric)["value"].item()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = clustered(tmp_path_factory.mktemp("finished") / "s", per_task=120)
    counts = stage.run(context_of(study))
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
        assert value(study, protocol, "cls_encodings") > 0.98
        assert value(study, protocol, "prior") == 0.5
        assert abs(value(study, protocol, SHUFFLED) - 0.5) < 0.25
        assert abs(value(study, protocol, "hidden_state") - 0.5) < 0.25
    for features in ("clusters", "row_statistics", "cls_encodings"):
        table = study.importance.filter(features=features)
        foremost = table.row(table["max_difference"].arg_max(), named=True)
        assert (foremost["layer"], foremost["head"], foremost["top_fraction"]) == (*TELLING, 1)
    table = study.importance.filter(features="clusters")
    best = table.row(table["max_difference"].arg_max(), named=True)
    assert (best["layer"], best["head"]) == (TELLING_LAYER, TELLING_HEAD)


def test_tables_have_every_row(finished):
    study, _ = finished
    assert dict(study.predictions.schema) == PREDICTIONS.schema
    assert dict(study.metrics.schema) == METRICS.schema
    assert dict(study.importance.schema) == IMPORTANCE.schema
    sets = feature_sets(study.config)
    grouped = measured_sets(study.config, "grouped_cross_validation")
    assert {"confidence", "row_statistics", "cls_encodings", "confidence+row_statistics"} < set(grouped)
    assert set(sets) - set(grouped) == {"clusters", "confidence+clusters", SHUFFLED}
    n_metrics = len(metrics.METRIC_FUNCTIONS) + len(AUROC_VARIANTS) + len(RATE_DEPENDENT)
    assert study.metrics.height == (2 * len(sets) + len(grouped)) * n_metrics
    assert study.importance.select("task", "features", "layer", "head").rows() == [
        ("eol", features, layer, head)
        for features in ("clusters", "row_statistics", "cls_encodings")
        for layer in range(2)
        for head in range(2)
    ]
    prompts = study.study_prompts.filter(task="eol")
    in_test = prompts.filter(split="test")["prompt_id"].to_list()
    for features in sets:
        chosen = study.predictions.filter(features=features)
        tested = chosen.filter(protocol="cross_validation")
        assert tested["prompt_id"].sort().to_list() == prompts["prompt_id"].to_list()
        assert tested["fold"].unique().sort().to_list() == [0, 1, 2, 3]
        assert chosen.filter(protocol="held_out")["prompt_id"].to_list() == in_test


def test_grouped_folds_test_every_prompt_and_cut_through_no_group(finished):
    study, _ = finished
    predictions = study.predictions.filter(protocol="grouped_cross_validation")
    prompts = study.study_prompts.filter(task="eol")
    for _, of_set in predictions.group_by("features"):
        assert of_set["prompt_id"].sort().to_list() == prompts["prompt_id"].to_list()
        folds = of_set.join(prompts, on="prompt_id").group_by("group").agg(pl.col("fold").n_unique())
        assert folds["fold"].to_list() == [1] * prompts["group"].n_unique()
    assert value(study, "grouped_cross_validation", "cls_encodings") > 0.98
    assert abs(value(study, "grouped_cross_validation", "hidden_state") - 0.5) < 0.25


def test_metrics_are_those_of_the_predictions(finished):
    study, _ = finished
    table = study.predictions.join(study.study_prompts, on="prompt_id")
    chosen = table.filter(protocol="cross_validation", features="confidence")
    hits = (chosen["probability"] > 0.5) == chosen["correct"]
    assert value(study, "cross_validation", "confidence", "accuracy") == pytest.approx(hits.mean())
    of_folds = [roc_auc_score(fold["correct"], fold["probability"]) for fold in chosen.partition_by("fold")]
    # Folds have about as many pairs, so this is about the mean over the folds.
    assert value(study, "cross_validation", "confidence") == pytest.approx(np.mean(of_folds), abs=0.01)
    row = study.metrics.filter(protocol="held_out", features="confidence", metric="accuracy").row(
        0, named=True
    )
    assert row["low"] < row["value"] < row["high"]
    assert row["prompts"] == 30
    other = study.metrics.filter(protocol="held_out", features="clusters", metric="accuracy")
    assert other["difference"].item() == pytest.approx(other["value"].item() - row["value"])


def test_predictor_is_the_held_out_model(finished):
    study, _ = finished
    model = CatBoostClassifier().load_model(str(study.path(PREDICTOR) / "eol.cbm"))
    test = study.study_prompts.filter(task="eol", split="test")
    blocks = StoredFeatures(study, test, "held_out").blocks(["clusters"])
    stored = study.predictions.filter(protocol="held_out", features="clusters")["probability"]
    np.testing.assert_allclose(model.predict_proba(as_pool(blocks))[:, 1], stored, rtol=1e-5)


def test_the_scorers_predictor_is_the_held_out_model(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol", split="test")
    blocks = StoredFeatures(study, prompts, "held_out").blocks(["confidence", "row_statistics"])
    predictor = load_predictors(study)["eol"]
    stored = study.predictions.filter(protocol="held_out", features="confidence+row_statistics")
    found = expit(predictor.model.log_odds(blocks))
    np.testing.assert_allclose(found, stored["probability"], rtol=1e-5)
    assert study.calibration["features"].to_list() == ["confidence+row_statistics", "confidence"]
    row = study.calibration.row(0, named=True)
    assert (row["features"], row["base_rate"]) == ("confidence+row_statistics", 0.75)
    assert row["prompts"] == study.study_prompts.filter(task="eol", split="train").height
    # The outcome's share of the log-odds is the telling head's.
    heads = np.abs(predictor.head_contributions(blocks, 4)).mean(0)
    assert divmod(int(heads.argmax()), 2) == (TELLING_LAYER, TELLING_HEAD)


def test_calibrated_probabilities_keep_to_the_natural_rate(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol", split="test")
    blocks = StoredFeatures(study, prompts, "held_out").blocks(["confidence", "row_statistics"])
    predictor = load_predictors(study)["eol"]
    right = prompts["correct"].to_numpy()
    weights = weights_at_rate(right, np.ones(len(right)), 0.75)
    probability = expit(predictor.log_odds(blocks))
    assert np.average(probability, weights=weights) == pytest.approx(0.75, abs=0.06)


NOT_MADE = ("mean", "row_ends", "row_concat")


def stored_arrays(study: Study) -> dict[str, np.ndarray]:
    return {name: array[:] for name, array in study.encodings.arrays()}


def test_hidden_states_by_depth(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol").head(3)
    names = ["hidden_state", "last_hidden_state", "hidden_states"]
    blocks = StoredFeatures(study, prompts, "held_out").blocks(names)
    stored = study.encodings["hidden_states"][:][:, prompts["prompt_id"].to_numpy()]
    np.testing.assert_array_equal(blocks["hidden_state"], stored[1])
    np.testing.assert_array_equal(blocks["last_hidden_state"], stored[3])
    np.testing.assert_array_equal(blocks["hidden_states"], np.hstack([*stored]))


def test_blocks_of_a_pass_are_those_of_the_study(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol", split="test")
    ids = prompts["prompt_id"].to_numpy()
    readable = [name for name, block in BLOCKS.items() if block.in_one_pass]
    names = [name for name in readable if name.removesuffix("_encodings") not in NOT_MADE]
    assert {"token_kind", "token_identity", "top_log_probs", "hidden_states", "last_hidden_state"} < set(
        names
    )
    assert {"occurrences", "copy_attention"} < set(names)
    arrays = {name: array[..., ids, :] for name, array in stored_arrays(study).items()}
    columns = ("max_probability", "margin", "entropy", "predicted_id", "next_token_id")
    outcomes = {name: prompts[name].to_numpy() for name in columns}
    found = PassFeatures(arrays, outcomes).blocks(names)
    expected = StoredFeatures(study, prompts, "held_out").blocks(names)
    assert list(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])


def test_blocks_are_those_of_their_prompts(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol", split="test")
    blocks = StoredFeatures(study, prompts, "held_out").blocks(["clusters", "row_statistics", "confidence"])
    table = study.clusters.filter(prompt_id=prompts["prompt_id"][5])
    assert blocks["clusters"][5].tolist() == table["cluster_held_out"].to_list()
    crossed = StoredFeatures(study, prompts, "cross_validation").blocks(["clusters"])
    assert crossed["clusters"][5].tolist() == table["cluster"].to_list()
    statistics = study.encodings["row_statistics"][:, prompts["prompt_id"][5], :]
    np.testing.assert_array_equal(blocks["row_statistics"][5], statistics.ravel())
    expected = prompts.select("max_probability", "margin", "entropy").row(5)
    assert blocks["confidence"][5].tolist() == list(expected)


def test_shuffled_labels_are_measured_against_themselves(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol").sort("prompt_id")
    shuffled = labels(study, prompts, SHUFFLED)
    assert (shuffled != prompts["correct"].to_numpy()).any()
    assert shuffled.sum() == prompts["correct"].sum()
    chosen = study.predictions.filter(protocol="cross_validation", features=SHUFFLED).sort("prompt_id")
    hits = (chosen["probability"].to_numpy() > 0.5) == shuffled
    assert value(study, "cross_validation", SHUFFLED, "accuracy") == pytest.approx(hits.mean())


def test_a_leak_shows_in_the_shuffled_labels(tmp_path):
    """Blocks that know the labels that the pipeline is given must not come out at chance."""
    study = clustered(tmp_path / "s", per_task=120)
    prompts = study.study_prompts.sort("prompt_id")
    of_task = prompts.filter(task="eol")
    known = np.zeros(prompts.height, dtype=np.float32)
    known[of_task["prompt_id"].to_numpy()] = labels(study, of_task, SHUFFLED)
    arrays = zarr.open_group(study.path(ENCODINGS), mode="r+")
    statistics = arrays["row_statistics"][:]
    statistics[0, :, 0] = 5 * known
    arrays["row_statistics"][:] = statistics
    stage.run(context_of(study))
    assert value(study, "held_out", SHUFFLED) > 0.8


def test_random_encoder_is_a_baseline_when_asked_for(tmp_path):
    study = clustered(tmp_path / "s", random_encoder=True)
    assert study.clusters["random_cluster"].equals(study.clusters["cluster"].alias("random_cluster"))
    stage.run(context_of(study))
    assert value(study, "held_out", "random_clusters") > 0.98


def test_the_base_rate_is_that_of_the_task(finished):
    study, _ = finished
    rate = study.read(TASKS).filter(task="eol")["base_rate"].item()
    assert value(study, "held_out", "prior", "accuracy_at_base_rate") == pytest.approx(rate)
    assert value(study, "held_out", "prior", "brier_at_base_rate") == pytest.approx(
        rate * (1 - rate), abs=0.01
    )


def test_an_array_of_an_earlier_version_is_named(tmp_path):
    study = clustered(tmp_path / "s")
    del zarr.open_group(study.path(ENCODINGS), mode="r+")["hidden_states"]
    prompts = study.study_prompts.filter(task="eol")
    with pytest.raises(ApmaeError, match="has no array hidden_states"):
        StoredFeatures(study, prompts, "held_out").blocks(["hidden_state"])


def test_position_is_line_length_and_distinct_tokens(finished):
    study, _ = finished
    prompts = study.study_prompts.filter(task="eol").head(2)
    prompts = prompts.with_columns(line=pl.Series([None, 9]), input_ids=pl.Series([[1, 2, 1], [5, 5, 5]]))
    found = StoredFeatures(study, prompts, "held_out").blocks(["position"])["position"]
    np.testing.assert_allclose(found, [[0, 3, 2], [np.log(10), 3, 1]], rtol=1e-6)


def test_outcomes_that_nothing_tells_are_predicted_at_chance(tmp_path):
    study = clustered(tmp_path / "s", per_task=200, informative=False)
    stage.run(context_of(study))
    for features in ("clusters", "row_statistics", "confidence+row_statistics", SHUFFLED):
        assert abs(value(study, "cross_validation", features) - 0.5) < 0.15


def test_number_of_processes_does_not_matter(tmp_path):
    studies = [clustered(tmp_path / str(n), processes=n, folds=2) for n in (1, 2)]
    for study in studies:
        stage.run(context_of(study))
    for table in ("predictions", "metrics", "importance", "calibration"):
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
        stage.run(context_of(study, progress=killed))
    kept = {
        path: path.stat().st_mtime_ns for path in study.work_directory("predict", "key").glob("*.parquet")
    }
    assert 5 <= len(kept) < 2 * len(feature_sets(study.config))
    stage.run(context_of(study))
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    for table in ("predictions", "metrics", "importance", "calibration"):
        assert_frame_equal(getattr(study, table), getattr(unkilled, table))


def changed(study: Study, artifact: str, **columns: pl.Expr) -> None:
    pl.read_parquet(study.path(artifact)).with_columns(**columns).write_parquet(study.path(artifact))


def test_one_outcome_only_goes_on_and_says_so(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, PROMPTS, correct=pl.when(pl.col("task") == "eol").then(True))
    counts = stage.run(context_of(study))
    assert counts["notes"] == [
        "eol: 0 folds instead of 4, for want of correct or incorrect prompts",
        "eol: no incorrect prompt in the train split",
        "eol: no incorrect prompt in the test split",
        "eol: no predictor, for want of outcomes or clusters to tell apart",
        "eol: no scorer, for want of correct and incorrect prompts of several training groups",
    ]
    with pytest.raises(ApmaeError, match=r"larger prompts\.per_task"):
        load_predictors(study)
    assert study.metrics.filter(metric="auroc")["value"].is_nan().all()
    assert value(study, "held_out", "clusters", "accuracy") == 1
    assert (study.importance["max_difference"] == 0).all()
    assert list(study.path(PREDICTOR).iterdir()) == []


def with_development(directory, *, measured_split="test"):
    """A study whose first six groups are of the development split."""
    prompts = {"tasks": ["eol"], "per_task": 96, "length_tokens": 16, "development_fraction": 0.25}
    study = clustered(directory, per_task=96, tasks=("eol",))
    values = study.config.model_dump() | {"prompts": prompts, "measured_split": measured_split}
    study = Study.create(StudyConfig.model_validate(values))
    number = pl.col("group").str.strip_prefix("g").cast(pl.Int32)
    changed(study, PROMPTS, split=pl.when(number < 6).then(pl.lit("development")).otherwise("split"))
    return study


def test_development_prompts_are_used_for_nothing(tmp_path):
    study, flipped = (with_development(tmp_path / name) for name in ("plain", "flipped"))
    other = pl.when(split="development").then(~pl.col("correct")).otherwise("correct")
    changed(flipped, PROMPTS, correct=other)
    for made in (study, flipped):
        assert stage.run(context_of(made))["notes"] == []
    development = study.study_prompts.filter(split="development")["prompt_id"]
    assert len(development) == 36
    assert not set(development) & set(study.predictions["prompt_id"])
    assert "development" not in set(study.analysed_prompts["split"])
    for table in ("predictions", "metrics", "importance", "calibration"):
        assert_frame_equal(getattr(study, table), getattr(flipped, table))


def test_a_study_that_measures_on_development_prompts_leaves_the_test_prompts_alone(tmp_path):
    study = with_development(tmp_path / "s", measured_split="development")
    stage.run(context_of(study))
    splits = dict(study.study_prompts.select("prompt_id", "split").rows())
    by_protocol = study.predictions.group_by("protocol").agg(pl.col("prompt_id").unique())
    found = {name: {splits[number] for number in prompts} for name, prompts in by_protocol.iter_rows()}
    assert found == {
        "held_out": {"development"},
        "cross_validation": {"train", "development"},
        "grouped_cross_validation": {"train", "development"},
    }


def test_heads_of_one_cluster_predict_the_prior(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, CLUSTERS, cluster=pl.lit(-1, pl.Int16), cluster_held_out=pl.lit(-1, pl.Int16))
    counts = stage.run(context_of(study))
    assert counts["notes"] == ["eol: no predictor, for want of outcomes or clusters to tell apart"]
    assert value(study, "held_out", "clusters") == 0.5


def test_a_task_without_training_prompts_goes_on(tmp_path):
    study = clustered(tmp_path / "s", per_task=24)
    changed(study, PROMPTS, split=pl.lit("test"))
    counts = stage.run(context_of(study))
    assert counts["notes"][:2] == [
        f"eol: no {kind} prompt in the train split" for kind in ("correct", "incorrect")
    ]
    row = study.metrics.filter(protocol="held_out", features="clusters", metric="auroc").row(0, named=True)
    assert np.isnan([row["value"], row["low"], row["high"]]).all()
    assert row["prompts"] == 0
    assert study.importance["top_fraction"].is_nan().all()
    assert (study.importance["mean_shap"] == 0).all()
    assert value(study, "cross_validation", "clusters") > 0.9
