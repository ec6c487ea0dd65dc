"""The whole command on a miniature study, and networks that have to find what one head knows."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
import torch
from helpers.models import write_parts
from helpers.studies import write_study
from sklearn.metrics import roc_auc_score

from apmae import pipeline
from apmae.autoencoder import APMAEModel
from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.encoding.encoders import load_encoder
from apmae.scoring.scorer import studied_target
from apmae.study import Study
from apmae.study.artifacts import token_ids
from apmae.study.study_file import load_config
from experiments.fine_tuning import __main__ as command
from experiments.fine_tuning import cells, fitting
from experiments.fine_tuning.fitting import Labelled
from experiments.fine_tuning.network import READOUTS, PatternClassifier, Patterns


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("fine_tuning")
    file = write_study(root / "study.yaml", *write_parts(root, packages=8, files=3), root / "run")
    config = load_config(file, ["prompts.tasks=[eol,identifiers]", "prompts.per_task=48"])
    return [pipeline.run(config, only=stage) for stage in ("prompts", "train", "encode")][-1]


@pytest.fixture
def patterns(study):
    prompts = cells.prompts_of(study, "train")
    return Patterns(studied_target(study), load_encoder(study, torch.device("cpu")), token_ids(prompts))


def test_encodings_are_those_that_the_study_keeps(study, patterns):
    rows = cells.prompts_of(study, "train")["prompt_id"].to_numpy()
    kept = np.concatenate([np.asarray(study.encodings[name])[:, rows] for name in READOUTS], -1)
    with torch.inference_mode():
        found = PatternClassifier(patterns).eval().encode(patterns.tokens())
    np.testing.assert_allclose(found.transpose(0, 1), kept, atol=5e-3)


@dataclass(frozen=True)
class Planted(Patterns):
    """Patterns of which those of one head are blank where the completion is correct."""

    correct: np.ndarray

    def take(self, rows):
        return replace(super().take(rows), correct=self.correct[rows])

    def tokens(self):
        found = super().tokens()
        layers, heads = self.target.n_layers, self.target.n_heads
        for values in found:
            values.view(layers, len(self), heads, *values.shape[1:])[1, torch.from_numpy(self.correct), 2] = 0
        return found


def test_a_network_finds_the_head_that_knows(study, patterns, tmp_path):
    correct = np.random.default_rng(0).random(len(patterns)) < 0.5
    planted = Planted(patterns.target, patterns.model, patterns.input_ids, correct)
    torch.manual_seed(0)
    network = PatternClassifier(planted)
    fitting.fit(network, Labelled(planted, correct, np.arange(len(correct)) % 8), 0, tmp_path, silent)
    ids = token_ids(cells.prompts_of(study, "test"))
    expected = np.arange(len(ids)) % 2 == 0
    unseen = Planted(patterns.target, patterns.model, ids, expected)
    assert roc_auc_score(expected, fitting.predict(network, unseen)) > 0.9


class KilledError(Exception):
    pass


def test_a_killed_training_goes_on_exactly(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCHS", 3)
    correct = np.arange(len(patterns)) % 2 == 0
    groups = np.arange(len(patterns)) % 8

    def killed_in_epoch_3(items, description, **_):
        if description == "epoch 3":
            raise KilledError
        return items

    def fit(directory, progress):
        torch.manual_seed(0)
        model = APMAEModel(patterns.model.config)
        network = PatternClassifier(Patterns(patterns.target, model, patterns.input_ids))
        own = Patterns(patterns.target, model, patterns.input_ids)
        (tmp_path / directory).mkdir(exist_ok=True)
        fitting.fit(network, Labelled(own, correct, groups), 1, tmp_path / directory, progress)
        return fitting.predict(network, own)

    whole = fit("whole", silent)
    with pytest.raises(KilledError):
        fit("killed", killed_in_epoch_3)
    assert np.array_equal(fit("killed", silent), whole)


def test_the_tables_have_every_way_and_are_made_once(study, capsys, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCHS", 1)
    command.main(study.directory, labels=[24, 0], seeds=1, processes=1)
    printed = capsys.readouterr().out
    assert "| read from | 24 | all |" in printed
    for way in cells.WAYS:
        assert printed.count(f"| {way} |") == 3
    monkeypatch.setattr(fitting, "fit", None)
    monkeypatch.setattr(cells.models, "fit", None)
    command.main(study.directory, labels=[24, 0], seeds=1, processes=1)
    assert capsys.readouterr().out == printed


def test_fewer_labels_are_part_of_more(study):
    few, all_of_them = (cells.labelled_prompts(study, count, 0)["prompt_id"] for count in (10, 0))
    assert few.to_list() == all_of_them[:10].to_list()
    assert set(all_of_them) == set(study.study_prompts.filter(split="train")["prompt_id"])
    assert few.to_list() != cells.labelled_prompts(study, 10, 1)["prompt_id"].to_list()


def test_ways_differ_in_what_they_begin_with_and_see(study):
    odds = cells.compute(study, list(cells.cells_of([24], 1)), silent, 1)
    values = pl.DataFrame({cell.way: found for cell, found in odds.items()}).to_numpy()
    assert len(np.unique(values, axis=1).T) == len(cells.WAYS)


def test_a_study_without_encodings_is_one_clear_line(tmp_path, study):
    config = study.config.model_copy(update={"directory": tmp_path / "empty"})
    with pytest.raises(ApmaeError, match="encode"):
        command.main(Study.create(config).directory)
