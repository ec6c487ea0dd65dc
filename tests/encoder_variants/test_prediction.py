"""Out-of-fold predictions: folds by group, and nothing of the tested fold is learned."""

import numpy as np
import polars as pl
import pytest
from helpers.synthetic import synthetic_study

from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.study.artifacts import PROMPTS
from experiments.encoder_variants import prediction

CONFIG = {"prediction": {"iterations": 20, "processes": 1}, "clustering": {"processes": 1, "n_clusters": 3}}


@pytest.fixture
def study(tmp_path):
    return synthetic_study(tmp_path / "study", tasks=("eol", "identifiers"), config=CONFIG)


def test_no_group_is_in_two_folds(study):
    folds = prediction.fold_numbers(study)
    assert set(folds) == set(range(prediction.FOLDS))
    by_group = study.study_prompts.with_columns(fold=pl.Series(folds)).group_by("group").n_unique()
    assert by_group["fold"].max() == 1


def test_too_few_groups(tmp_path):
    with pytest.raises(ApmaeError, match=r"too few groups for 5 folds: raise prompts\.per_task"):
        prediction.fold_numbers(synthetic_study(tmp_path / "few", per_task=24))


def test_every_prompt_is_predicted_by_a_model_that_did_not_see_it(study):
    found = prediction.predict(study, "key", silent, first=True)
    sets = prediction.feature_sets(study, first=True)
    assert set(found["features"]) == set(sets)
    assert {"cls_encodings", "row_clusters", "row_statistics", "confidence"} <= set(sets)
    assert found.height == len(sets) * study.study_prompts.height
    assert found.n_unique(["features", "prompt_id"]) == found.height
    telling = found.join(study.study_prompts.select("prompt_id", "correct"), "prompt_id")
    for features in ("cls_encodings", "cls_clusters"):
        rows = telling.filter(features=features)
        assert ((rows["probability"] > 0.5) == rows["correct"]).mean() > 0.95

    # With the outcomes of one fold turned round, its predictions stay and the others change.
    prompts = study.prompts.with_columns(fold=pl.Series(prediction.fold_numbers(study)))
    turned = prompts.with_columns(correct=pl.col("correct") ^ (pl.col("fold") == 0)).drop("fold")
    fold_of = prediction.fold_numbers(study)
    study.write(PROMPTS, turned)
    for features in ("cls_encodings", "row_statistics"):
        again = prediction._predict(study, [], "eol", features, fold_of)
        before = found.filter(features=features, task="eol").sort("prompt_id")
        same = np.isclose(again.sort("prompt_id")["probability"], before["probability"])
        tested = before["fold"].to_numpy() == 0
        assert same[tested].all()
        assert not same[~tested].all()


def test_what_is_done_is_read_and_a_new_key_is_done_anew(study, monkeypatch):
    first = prediction.predict(study, "key", silent, first=False)
    assert not study.path("work/ablation").exists()
    computed = []
    monkeypatch.setattr(prediction, "_predict_all", lambda *_: computed.append(0) or first.head(1))
    assert prediction.predict(study, "key", silent, first=False).equals(first)
    assert not computed
    assert prediction.predict(study, "another", silent, first=False).height == 1
