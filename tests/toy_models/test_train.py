import pytest
import torch
from helpers.models import MINIATURE

from experiments.toy_models import train
from experiments.toy_models.rows import IGNORED_LABEL
from experiments.toy_models.tokenizer import MIDDLE
from experiments.toy_models.train import Trainer, learning_rate_factor, load_tokenizer


def make_trainer(work, files, tokenizer_directory):
    return Trainer(
        MINIATURE,
        load_tokenizer(tokenizer_directory),
        files,
        work,
        checkpoint_every_seconds=0,
        compiled=False,
    )


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_a_killed_training_goes_on_as_if_it_had_not_been_killed(
    tmp_path, files, tokenizer_directory, monkeypatch
):
    whole = make_trainer(tmp_path / "whole", files, tokenizer_directory)
    reports = list(whole.run())

    def save_and_die(path, model, optimizers, words):
        keep(path, model, optimizers, words)
        if words["step"] == "3":
            raise KeyboardInterrupt

    keep = train.save_checkpoint
    monkeypatch.setattr(train, "save_checkpoint", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        list(make_trainer(tmp_path / "killed", files, tokenizer_directory).run())
    resumed = make_trainer(tmp_path / "killed", files, tokenizer_directory)
    assert resumed.step == 3
    assert resumed.core_seconds > 0
    assert list(resumed.run())[-1].validation_loss == reports[-1].validation_loss
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name


def test_the_loss_falls(tmp_path, files, tokenizer_directory):
    trainer = make_trainer(tmp_path, files, tokenizer_directory)
    before = train.mean_loss(trainer.model, trainer._validation, 4, 2)
    list(trainer.run())
    assert train.mean_loss(trainer.model, trainer._validation, 4, 2) < before


def test_every_weight_has_one_optimizer_and_only_hidden_matrices_have_muon(
    tmp_path, files, tokenizer_directory
):
    trainer = make_trainer(tmp_path, files, tokenizer_directory)
    muon, adamw = (
        {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for optimizer in train.make_optimizers(trainer.model)
    )
    for name, parameter in trainer.model.named_parameters():
        hidden_matrix = name.startswith("model.layers.") and name.endswith(("proj.weight", "c_fc.weight"))
        assert (id(parameter) in muon) == hidden_matrix, name
        assert (id(parameter) in adamw) == (not hidden_matrix), name


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    factors = [learning_rate_factor(step, 1_000) for step in (0, 49, 99, 499, 500, 750, 999)]
    assert factors == pytest.approx([0.01, 0.5, 1.0, 1.0, 1.0, 0.5, 0.002])


def test_the_first_token_of_a_middle_counts_twenty_times(tmp_path, files, tokenizer_directory):
    trainer = make_trainer(tmp_path, files, tokenizer_directory)
    middle = trainer._rows._ids[MIDDLE]
    ids = torch.tensor([[9, 8, middle, 7]])
    labels = torch.tensor([[9, IGNORED_LABEL, 5, 7]])
    with torch.inference_mode():
        log_probabilities = trainer.model(ids).logits[0].log_softmax(-1)
        loss = train.WeightedLoss(trainer.model, middle)(ids, labels)
    expected = -(log_probabilities[1, 5] + 20 * log_probabilities[2, 7]) / 21
    assert loss == pytest.approx(float(expected), rel=1e-5)
