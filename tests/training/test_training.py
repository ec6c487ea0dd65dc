"""Training: resumed equals unkilled, lanes make processes interchangeable, bad input is refused."""

import math
import re

import numpy as np
import polars as pl
import pytest
import torch
from accelerate.utils import LoggerType
from helpers.studies import context_of, random_prompts, tiny_config, tiny_study
from matplotlib.pyplot import imread
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from apmae import training
from apmae.autoencoder import APMAEModel
from apmae.autoencoder.pretrained import pretrained_encoder
from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.study.artifacts import ENCODER, TRAINING_HISTORY, token_ids
from apmae.training import batches, checkpoint, stage, tracking, trainer
from apmae.training.checkpoint import CHECKPOINT
from apmae.training.prompts import encoder_prompts

TINY = tiny_config("unused").model_dump(exclude_defaults=True)["training"]


class KilledError(Exception):
    pass


def killed_after(steps):
    """A tracker that stops the work after so many steps, as a kill would."""

    def progress(items, description, total=None, **_):
        for count, item in enumerate(items, start=1):
            yield item
            if count == steps:
                raise KilledError

    return progress


def train(study, target, progress=silent):
    counts = stage.run(context_of(study, target, progress=progress))
    return (
        counts,
        study.read(TRAINING_HISTORY),
        APMAEModel.from_pretrained(study.path(ENCODER)),
    )


def test_a_killed_training_ends_equal_to_an_unkilled_one(tmp_path, llama):
    _, expected_history, expected = train(tiny_study(tmp_path / "unkilled"), llama)
    study = tiny_study(tmp_path / "killed")
    for steps in (5, 2):
        with pytest.raises(KilledError):
            train(study, llama, killed_after(steps))
    _, history, model = train(study, llama)
    assert history.equals(expected_history)
    for (name, tensor), other in zip(expected.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name


def test_history_has_every_step_and_validates_on_held_out_groups(tmp_path, llama):
    counts, history, _ = train(tiny_study(tmp_path), llama)
    assert history["step"].to_list() == list(range(1, 9))
    assert history.filter(pl.col("validation_loss").is_not_null())["step"].to_list() == [4, 8]
    usable = random_prompts().filter((pl.col("purpose") == "encoder") & pl.col("correct"))
    assert counts["training_prompts"] == usable.filter(split="train").height
    assert counts["validation_prompts"] == usable.filter(split="test").height


def test_training_lowers_the_loss(tmp_path, llama):
    section = {
        "steps": 60,
        "batch_size": 24,
        "prompts_per_round": 8,
        "precision": "float32",
        "warmup_fraction": 0.1,
    }
    _, history, _ = train(tiny_study(tmp_path, training=section), llama)
    assert history["loss"].tail(5).mean() < 0.5 * history["loss"].head(5).mean()


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches_of_one(tmp_path, llama, processes):
    config = tiny_config(tmp_path)
    prompts = random_prompts().filter(purpose="encoder")
    model_config = training.encoder_config(config)
    alone = training.PatternBatches(llama, prompts, config, model_config)
    together = [
        training.PatternBatches(llama, prompts, config, model_config, rank, processes)
        for rank in range(processes)
    ]
    for step in (0, 3, alone.batches_per_round):
        tokens, noise = alone.batch(step)
        shares = [part.batch(step) for part in together]
        whole = torch.cat([tokens.patches.flatten(1), noise], 1)
        parts = torch.cat([torch.cat([share.patches.flatten(1), own], 1) for share, own in shares])
        assert torch.equal(_sorted_rows(whole), _sorted_rows(parts))
        assert all(len(own) == config.training.batch_size // processes for _, own in shares)


def _sorted_rows(rows):
    return rows[rows[:, -1].argsort()]


@pytest.mark.parametrize("drawn_per", ["batch", "prompt"])
def test_the_same_patterns_are_captured_whatever_the_batch_of_the_target(
    tmp_path, llama, monkeypatch, drawn_per
):
    captured = []
    capture = batches.capture_tokens

    def spy(target, input_ids, heads, *rest):
        captured[-1] += zip(input_ids.tolist(), heads, strict=True)
        return capture(target, input_ids, heads, *rest)

    monkeypatch.setattr(batches, "capture_tokens", spy)
    section = {"batch_size": 16, "prompts_per_round": 64, "heads_drawn_per": drawn_per}
    for size in (3, 16):
        captured.append([])
        config = tiny_config(tmp_path, training=section, target={"dtype": "float32", "batch_size": size})
        training.PatternBatches(llama, random_prompts(), config, training.encoder_config(config)).batch(0)
    assert len(captured[0]) == 64
    assert captured[0] == captured[1]


def test_batches_mix_prompts_and_layers(tmp_path, llama):
    config = tiny_config(tmp_path, training={"batch_size": 16, "prompts_per_round": 32})
    batches = training.PatternBatches(llama, random_prompts(), config, training.encoder_config(config))
    first, _ = batches.batch(0)
    second, _ = batches.batch(1)
    assert batches.batches_per_round == 32 * llama.n_layers // 16
    assert not torch.equal(first.patches, second.patches)
    again, _ = batches.batch(0)
    assert torch.equal(first.patches, again.patches)


def test_another_training_seed_is_another_encoder_on_the_same_prompts_and_validation_patterns(
    tmp_path, llama
):
    def trainer(name, **sections):
        study = tiny_study(tmp_path / name, training=TINY | sections.pop("training", {}), **sections)
        parts = encoder_prompts(study.prompts, study.config.training)
        return training.Trainer(study.config, llama, *parts, study.work_directory("train", name))

    plain, same, other = (trainer(str(seed), training={"seed": seed}) for seed in (None, 0, 1))
    weights = [made.model.state_dict() for made in (plain, same, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    (tokens, noise), (same_tokens, same_noise), (other_tokens, other_noise) = (
        made.batches.batch(0) for made in (plain, same, other)
    )
    assert torch.equal(tokens.patches, same_tokens.patches)
    assert torch.equal(noise, same_noise)
    assert not torch.equal(tokens.patches, other_tokens.patches)
    assert not torch.equal(noise, other_noise)
    assert torch.equal(plain._validation[1], other._validation[1])
    assert torch.equal(plain._validation[0].patches, other._validation[0].patches)


def test_the_same_number_of_heads_of_every_layer(llama):
    heads = training.draw_heads(llama, 2, torch.Generator().manual_seed(0))
    assert [layer for layer, _ in heads] == [0, 0, 1, 1, 2, 2]
    assert len(set(heads)) == 6


def test_every_prompt_can_have_a_draw_of_heads_of_its_own(llama):
    config = training.encoder_config(tiny_config("unused"))
    input_ids = token_ids(random_prompts())[:4]
    drawn = [training.draw_heads(llama, 2, torch.Generator().manual_seed(seed)) for seed in range(4)]
    assert len({tuple(heads) for heads in drawn}) > 1
    found = training.capture_tokens(llama, input_ids, drawn, config, torch.device("cpu"))
    every = training.capture_tokens(llama, input_ids, [llama.heads] * 4, config, torch.device("cpu"))
    # Both are ordered by layer, prompt, head.
    kept = [
        (layer, head) in drawn[prompt]
        for layer in range(llama.n_layers)
        for prompt in range(4)
        for head in range(llama.n_heads)
    ]
    assert len(found.patches) == 4 * 2 * llama.n_layers
    assert torch.equal(found.patches, every.patches[kept])


def test_heads_are_drawn_per_batch_or_per_prompt(tmp_path, llama, monkeypatch):
    seen = []
    capture = batches.capture_tokens

    def spy(target, input_ids, heads, *rest):
        seen.append([tuple(of_prompt) for of_prompt in heads])
        assert len(heads) == len(input_ids)
        return capture(target, input_ids, heads, *rest)

    monkeypatch.setattr(batches, "capture_tokens", spy)
    distinct, shapes = {}, {}
    for drawn_per in ("batch", "prompt"):
        section = {"batch_size": 16, "prompts_per_round": 64, "heads_drawn_per": drawn_per}
        config = tiny_config(tmp_path, training=section)
        found, _ = training.PatternBatches(
            llama, random_prompts(), config, training.encoder_config(config)
        ).batch(0)
        distinct[drawn_per] = {len(set(heads)) for heads in seen}
        shapes[drawn_per] = found.patches.shape
        seen.clear()
    assert distinct["batch"] == {1}
    assert max(distinct["prompt"]) > 1
    assert shapes["batch"] == shapes["prompt"]


def test_learning_rate_rises_then_falls_as_a_cosine(tmp_path):
    config = tiny_config(
        tmp_path,
        training={"steps": 100, "warmup_fraction": 0.1, "batch_size": 480, "base_learning_rate": 1.5e-4},
    ).training
    peak = 1.44e-3  # Table 1 of the paper
    assert training.learning_rate(0, config) == pytest.approx(peak / 10)
    assert training.learning_rate(9, config) == pytest.approx(peak)
    assert training.learning_rate(10, config) == pytest.approx(peak)
    assert training.learning_rate(55, config) == pytest.approx(peak / 2)
    assert training.learning_rate(99, config) == pytest.approx(peak * (1 + math.cos(math.pi * 89 / 90)) / 2)


def test_micro_batches_add_up_to_the_batch(tmp_path, llama):
    """16 patterns in three micro-batches, the last of them smaller."""
    histories = [
        train(
            tiny_study(
                tmp_path / str(gradient_accumulation_steps),
                training={**TINY, "gradient_accumulation_steps": gradient_accumulation_steps},
            ),
            llama,
        )[1]
        for gradient_accumulation_steps in (1, 3)
    ]
    assert_frame_equal(*histories, rel_tol=1e-4)


def test_the_buffer_holds_one_round(tmp_path, llama):
    config = tiny_config(tmp_path)
    batches = training.PatternBatches(llama, random_prompts(), config, training.encoder_config(config))
    for step in range(3 * batches.batches_per_round):
        batches.batch(step)
        held = sum(len(tokens.patches) for tokens in batches._tokens)
        assert held == config.training.prompts_per_round * batches.layer_heads * llama.n_layers
        assert {tokens.patches.dtype for tokens in batches._tokens} == {torch.float16}


def test_pictures_of_reconstructions_are_kept_with_the_encoder(tmp_path, llama):
    study = tiny_study(tmp_path, training={**TINY, "sample_every_steps": 5})
    train(study, llama)
    pictures = {path.name: imread(path) for path in study.path("encoder/training/samples").iterdir()}
    assert sorted(pictures) == ["step-0000005.png", "step-0000008.png"]
    early, late = (pictures[name][..., :3] for name in sorted(pictures))
    # Four rows of a pattern, the pattern masked, and its reconstruction, each 16 + 4 pixels.
    assert early.shape == late.shape == (4 * 20, 3 * 20, 3)
    given, masked, reconstructed = np.split(late, 3, axis=1)
    hidden = (masked != given).any(-1)
    # Of the four patches of the last row two are masked, of the six above it three.
    assert hidden.sum() == 4 * 5 * 4 * 4
    assert (reconstructed == given).all(-1)[~hidden].all()
    assert np.array_equal(early[:, :40], late[:, :40])
    assert not np.array_equal(early[:, 40:], late[:, 40:])


def test_no_picture_is_lost_to_a_kill_behind_a_checkpoint(tmp_path, llama, monkeypatch):
    study = tiny_study(tmp_path, training={**TINY, "sample_every_steps": 4, "checkpoint_every_steps": 4})

    def save_and_be_killed(*arguments):
        checkpoint.save_checkpoint(*arguments)
        raise KilledError

    for _ in range(2):
        with monkeypatch.context() as killing, pytest.raises(KilledError):
            killing.setattr(trainer, "save_checkpoint", save_and_be_killed)
            train(study, llama)
    train(study, llama)
    pictures = study.path("encoder/training/samples").iterdir()
    assert sorted(path.name for path in pictures) == ["step-0000004.png", "step-0000008.png"]


def test_a_tracker_that_is_not_installed_is_one_clear_line(tmp_path, llama, monkeypatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: [LoggerType.TENSORBOARD])
    with pytest.raises(ApmaeError, match=r'wandb is not installed; .* `pip install "apmae\[wandb\]"`'):
        train(tiny_study(tmp_path, training={**TINY, "tracker": "wandb"}), llama)


def test_the_status_says_losses_and_speed(tmp_path, llama):
    said = []

    def progress(items, *_, status, **__):
        for item in items:
            said.append(status())
            yield item

    train(tiny_study(tmp_path), llama, progress)
    assert re.fullmatch(r"loss 0\.\d{5}, \d+ patterns/s", said[0])
    assert re.fullmatch(r"loss 0\.\d{5}, validation 0\.\d{5}, \d+ patterns/s", said[-1])


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_lost(tmp_path, llama, monkeypatch):
    """The loss may still be finite then, and a checkpoint after that step would hold no finite weight."""
    study = tiny_study(tmp_path, training={**TINY, "checkpoint_every_steps": 1})
    forward = APMAEModel.forward
    calls = []

    def broken(self, *arguments, **options):
        output = forward(self, *arguments, **options)
        calls.append(self.training)
        if sum(calls) == 3:
            output.loss.register_hook(lambda gradient: gradient * math.inf)
        return output

    monkeypatch.setattr(APMAEModel, "forward", broken)
    with pytest.raises(ApmaeError, match="gradient is not finite at step 2"):
        train(study, llama)
    weights = load_file(study.path("work") / "train" / CHECKPOINT)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(tmp_path, llama, monkeypatch):
    study = tiny_study(tmp_path)
    batch = training.PatternBatches.batch

    def broken(self, step):
        tokens, noise = batch(self, step)
        return tokens._replace(patches=tokens.patches * (math.nan if step == 4 else 1)), noise

    monkeypatch.setattr(training.PatternBatches, "batch", broken)
    with pytest.raises(ApmaeError, match="not finite at step 4"):
        train(study, llama)
    assert (study.path("work") / "train" / CHECKPOINT).exists()
    monkeypatch.undo()
    _, history, _ = train(study, llama)
    assert history["step"].to_list() == list(range(1, 9))


def test_nothing_to_train_on_is_one_clear_line(tmp_path, llama):
    prompts = random_prompts().with_columns(correct=pl.lit(False))
    with pytest.raises(ApmaeError, match="no prompt to train the encoder on"):
        train(tiny_study(tmp_path, prompts), llama)


def test_a_round_smaller_than_a_batch_is_refused(tmp_path, llama):
    section = {"prompts_per_round": 8, "batch_size": 800}
    with pytest.raises(ApmaeError, match=r"gives 24 patterns, fewer than training\.batch_size"):
        train(tiny_study(tmp_path, training=section), llama)


def test_a_number_of_processes_that_lanes_cannot_be_dealt_to_is_refused(tmp_path, llama):
    config = tiny_config(tmp_path)
    with pytest.raises(ApmaeError, match="1, 2, 4 or 8 processes, not on 3"):
        training.PatternBatches(llama, random_prompts(), config, training.encoder_config(config), 0, 3)


def test_a_pretrained_encoder_is_taken_as_it_is(tmp_path, llama):
    _, _, trained = train(tiny_study(tmp_path / "one"), llama)
    encoder = {"pretrained": str(tmp_path / "one" / ENCODER)}
    study = tiny_study(tmp_path / "two", encoder=encoder)
    stage.run(context_of(study))  # its target, SmolLM2, is not needed and not loaded
    taken = APMAEModel.from_pretrained(study.path(ENCODER))
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(trained.state_dict().values(), taken.state_dict().values(), strict=True)
    )
    longer = tiny_config(tmp_path, encoder=encoder, prompts={"length_tokens": 64})
    with pytest.raises(ApmaeError, match=r"reads patterns of 16 tokens, but prompts.length_tokens is 64"):
        pretrained_encoder(longer)
