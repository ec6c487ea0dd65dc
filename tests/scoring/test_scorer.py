"""Scores against the study's own predictions; what prompts a scorer takes."""

import shutil

import numpy as np
import pytest
import torch
from scipy.special import expit

import apmae
from apmae import pipeline
from apmae.common.errors import ApmaeError
from apmae.scoring import HeadContribution, Scorer
from apmae.scoring.scorer import top_heads
from apmae.study.artifacts import CALIBRATION
from apmae.target_model import weights

TASKS = ("eol", "identifiers", "random")


def held_out(study, task):
    return study.study_prompts.filter(task=task, split="test")


def expected(study, task, features=None):
    """The study's held-out predictions of the scorer's feature set or another one, calibrated."""
    features = features or study.config.prediction.scorer
    predictions = study.predictions.filter(task=task, protocol="held_out", features=features)
    (row,) = study.calibration.filter(task=task, features=features).iter_rows(named=True)
    probability = predictions["probability"].to_numpy().astype(np.float64)
    log_odds = np.log(probability / (1 - probability))
    return expit(row["slope"] * log_odds + row["offset"])


@pytest.mark.parametrize("task", TASKS)
def test_the_studys_own_prompts_get_its_held_out_predictions(study, scorer, task):
    prompts = held_out(study, task)
    assert prompts.height > 3
    scores = scorer.score_batch(prompts["input_ids"].to_list(), [task] * prompts.height)
    found = [score.probability for score in scores]
    np.testing.assert_allclose(found, expected(study, task), atol=1e-5)
    assert [score.predicted_id for score in scores] == prompts["predicted_id"].to_list()
    largest = [score.max_probability for score in scores]
    np.testing.assert_allclose(largest, prompts["max_probability"], atol=1e-5)
    confidence = [score.confidence for score in scores]
    np.testing.assert_allclose(confidence, expected(study, task, "confidence"), atol=1e-5)


def test_all_that_one_pass_gives_is_the_studys_too(study, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(study.directory, copy)
    features = (
        "cls_encodings+row_encodings+entropy+top_log_probs+token_kind+token_identity+last_hidden_state"
        "+hidden_states+laplacian_eigenvalues+rauq+logit_lens_entropies"
    )
    prediction = study.config.prediction.model_copy(update={"scorer": features})
    config = study.config.model_copy(update={"directory": copy, "prediction": prediction})
    other = pipeline.run(config, only="predict")
    prompts = held_out(other, "eol")
    scorer = Scorer.load(copy)
    scores = scorer.score_batch(prompts["input_ids"].to_list(), ["eol"] * prompts.height)
    # Encodings are kept in half precision, so sums of float32 that differ in their last digits round apart.
    found = [score.probability for score in scores]
    np.testing.assert_allclose(found, expected(other, "eol"), atol=1e-3)


def test_a_batch_of_tasks_equals_one_prompt_at_a_time(study, scorer):
    prompts = [ids for task in TASKS for ids in held_out(study, task)["input_ids"].to_list()[:3]]
    tasks = [task for task in TASKS for _ in range(3)]
    together = scorer.score_batch(prompts, tasks)
    assert len({round(score.probability, 2) for score in together}) > 5
    # The tiny model's entropies differ from the sixth digit on, so that their last digit counts.
    for prompt, task, score in zip(prompts, tasks, together, strict=True):
        alone = scorer.score(prompt, task)
        assert alone.probability == pytest.approx(score.probability, abs=1e-3)
        assert [head[:2] for head in alone.heads] == [head[:2] for head in score.heads]
    assert scorer.score_batch([], []) == []


def test_the_same_prompt_gets_the_same_score(study, scorer):
    prompt = held_out(study, "eol")["input_ids"][0].to_list()
    again = Scorer.load(study.directory).score(torch.tensor(prompt), "eol")
    assert scorer.score(prompt, "eol") == again


def test_the_three_heads_that_move_most_come_first():
    # Two layers of three heads; -0.9 is head (1, 0), and of equals the first comes first.
    found = top_heads(np.array([0.1, 0.4, 0.0, -0.9, -0.4, 0.3]), 3)
    assert found == (
        HeadContribution(1, 0, -0.9),
        HeadContribution(0, 1, 0.4),
        HeadContribution(1, 1, -0.4),
    )


def test_heads_add_what_shap_says(study, scorer):
    """A head's part against the difference that replacing its columns by their means makes."""
    prompt = held_out(study, "eol")["input_ids"][0].to_list()
    score = scorer.score(prompt, "eol")
    predictor = scorer._predictors["eol"]
    _, blocks = scorer._run([prompt])
    without = blocks["copy_attention"].copy()
    top = score.heads[0]
    columns = slice(3 * (4 * top.layer + top.head), 3 * (4 * top.layer + top.head) + 3)
    without[:, columns] = predictor.model.columns["copy_attention"].mean[columns]
    (changed,) = predictor.log_odds({**blocks, "copy_attention": without})
    (whole,) = predictor.log_odds(blocks)
    assert top.log_odds == pytest.approx(whole - changed, abs=1e-4)
    assert top.log_odds != 0


def test_of_a_longer_prompt_the_last_tokens_count(study, scorer, monkeypatch):
    prompt = held_out(study, "eol")["input_ids"][0].to_list()
    assert scorer.score([7, 8, 9, *prompt], "eol") == scorer.score(prompt, "eol")
    monkeypatch.setattr(scorer.formatter, "leading_ids", [5])
    assert scorer.score([5, 9, *prompt], "eol") == scorer.score([5, *prompt[1:]], "eol")


def test_prompts_of_the_wrong_length_are_refused(scorer, monkeypatch):
    with pytest.raises(ApmaeError, match="63 tokens is too short: the study's prompts have 64"):
        scorer.score([1] * 63, "eol")
    monkeypatch.setattr(scorer.formatter, "format", "fim")
    with pytest.raises(ApmaeError, match=r"65 tokens is too long: .* cannot be cut"):
        scorer.score([1] * 65, "eol")
    with pytest.raises(ApmaeError, match=r"not of shape \(1, 64\)"):
        scorer.score([[1] * 64], "eol")


def test_tasks_without_a_predictor_are_refused(scorer):
    assert scorer.tasks == TASKS
    with pytest.raises(ApmaeError, match="has no scorer of noise; there are: eol, identifiers, random"):
        scorer.score([1] * 64, "noise")


def test_a_study_of_before_says_what_to_do(study, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(study.directory, copy)
    (copy / CALIBRATION.name).unlink()
    with pytest.raises(ApmaeError, match=r"calibration.parquet is gone: `apmae run .*`"):
        Scorer.load(copy)


def test_a_generation_loop(study):
    """The example of docs/scorer.md: greedy decoding that stops where it is likely incorrect."""
    scorer = apmae.Scorer.load(study.directory)
    source = study.study_prompts.filter(task="random")["input_ids"][0].to_list()
    ids = list(source)
    for _ in range(5):
        score = scorer.score(ids, "random")
        if score.probability < 0.01:
            break
        ids.append(score.predicted_id)
    generated = scorer.target.model.generate(torch.tensor([source]), max_new_tokens=1, do_sample=False)
    assert ids[: len(source) + 1] == generated[0].tolist()
    assert len(ids) == len(source) + 5


def test_other_weights_under_the_same_name_are_refused(study, monkeypatch):
    Scorer.load(study.directory)
    monkeypatch.setattr(weights, "sha256_of", lambda path: "0" * 64)
    with pytest.raises(ApmaeError, match=r"has other weights now .* than in .*: run the study again"):
        Scorer.load(study.directory)
