"""Encoding against direct calls of target and encoder; resuming by shard."""

import numpy as np
import pytest
import torch
from helpers.studies import context_of, tiny_study

from apmae.autoencoder import APMAEModel
from apmae.autoencoder.patterns import row_statistics
from apmae.common.progress import silent
from apmae.encoding import stage
from apmae.encoding.encoders import load_encoder, pattern_source, random_encoder
from apmae.encoding.forward import run_batch
from apmae.study.artifacts import ENCODER, token_ids
from apmae.training import encoder_config


@pytest.fixture
def study(tmp_path):
    readouts = ["cls", "row", "mean", "row_ends", "row_concat"]
    encoding = {"shard_prompts": 5, "precision": "float32", "readouts": readouts}
    study = tiny_study(tmp_path, encoding=encoding)
    torch.manual_seed(0)
    APMAEModel(encoder_config(study.config)).save_pretrained(study.path(ENCODER))
    return study


def test_encodings_are_the_encoders_of_the_captured_patterns(study, llama):
    stage.run(context_of(study, llama))
    model = load_encoder(study, llama.device)
    prompts = study.study_prompts
    arrays = study.encodings
    readouts = study.config.encoding.readouts
    assert {name: arrays[name].shape for name in readouts} == {
        **dict.fromkeys(("cls", "row", "mean"), (12, 24, 128)),
        "row_ends": (12, 24, 2 * 128),
        "row_concat": (12, 24, 8 * 128),
    }
    assert arrays["cls"].dtype == np.float16
    for prompt_id, layer, head in [(0, 0, 0), (7, 2, 3), (23, 1, 2)]:
        ids = [prompts["input_ids"][prompt_id].to_list()]
        pattern = llama.run(ids, [(layer, head)], model.config.scaling).patterns[:, 0]
        with torch.inference_mode():
            expected = {name: model.encode(pattern, name)[0] for name in readouts}
        for name, vector in expected.items():
            found = arrays[name][layer * 4 + head, prompt_id]
            np.testing.assert_allclose(found, vector.numpy(), atol=5e-3)
        _, layers = llama.capture(ids, lambda _, log_probs: row_statistics(log_probs[..., -1, :]))
        statistics = arrays["row_statistics"][layer * 4 + head, prompt_id]
        np.testing.assert_allclose(statistics, layers[layer][0, head].numpy(), atol=1e-5)


def test_the_targets_own_arrays_are_those_of_its_forward_pass(study, llama):
    stage.run(context_of(study, llama))
    arrays, ids = study.encodings, token_ids(study.study_prompts)
    with torch.inference_mode():
        output = llama.model(torch.from_numpy(ids).long(), output_hidden_states=True)
    assert arrays["hidden_states"].shape == (4, 24, 32)
    for place, layers in enumerate((0, 1, 2)):  # of three layers a quarter, a half, three quarters
        expected = output.hidden_states[layers][:, -1].numpy()
        np.testing.assert_allclose(arrays["hidden_states"][place], expected, atol=1e-5)
    last = llama.model.model.norm(torch.from_numpy(arrays["hidden_states"][3]))
    np.testing.assert_allclose(last.detach(), output.hidden_states[3][:, -1], atol=1e-4)
    log_probs = np.sort(output.logits[:, -1].log_softmax(-1).numpy())[:, ::-1][:, :20]
    np.testing.assert_allclose(arrays["top_log_probs"], log_probs, atol=1e-5)
    np.testing.assert_array_equal(arrays["before_hole"], ids[:, [-1, -2]])


def test_copies_are_of_what_the_target_predicts(llama):
    ids = np.tile(np.random.default_rng(0).integers(0, 64, (3, 16)), 4).astype(np.int32)
    ids[:, 20] = llama.logits(ids).argmax(-1).numpy()
    predicted = llama.logits(ids).argmax(-1).numpy()
    _, (arrays,) = run_batch(llama, ids, 16, [lambda _: {}])
    _, layers = llama.capture(ids, lambda _, log_probs: log_probs[..., -1, :].exp())
    rows = torch.cat([layers[layer] for layer in range(3)], 1).numpy()
    followed = np.pad(ids[:, :-1] == ids[:, -1:], ((0, 0), (1, 0)))
    is_predicted = ids == predicted[:, None]
    for kind, sources in enumerate((is_predicted, followed, followed & is_predicted)):
        expected = (rows * sources[:, None]).sum(-1).T
        np.testing.assert_allclose(arrays["copy_attention"][..., kind], expected, atol=1e-5)
        np.testing.assert_allclose(arrays["occurrences"][:, kind], np.log1p(sources.sum(-1)), atol=1e-5)
    assert is_predicted.any()
    assert followed.sum() >= 9


def test_a_killed_stage_goes_on_at_the_first_missing_shard(study, llama):
    def killed(items, description, total=None, **_):
        for count, item in enumerate(items):
            if count == 2:
                raise InterruptedError
            yield item

    with pytest.raises(InterruptedError):
        stage.run(context_of(study, llama, progress=killed))
    partial = study.encodings["cls"][:]
    assert np.isfinite(partial[:, :10]).all()
    assert np.isnan(partial[:, 10:]).all()
    seen = []

    def counting(items, description, total=None, **_):
        for item in items:
            seen.append(item)
            yield item

    stage.run(context_of(study, llama, progress=counting))
    assert seen == [2, 3, 4]
    resumed = {name: study.encodings[name][:] for name in ("cls", "row", "row_statistics")}
    stage.run(context_of(study, llama, key="another key"))
    for name, values in resumed.items():
        np.testing.assert_array_equal(values, study.encodings[name][:])


def test_the_pattern_source_gives_what_the_encoder_saw(study, llama):
    source = pattern_source(study, llama)
    found = source(3, [(2, 1), (0, 0)])
    ids = [study.prompts["input_ids"][3].to_list()]
    expected = llama.run(ids, [(2, 1), (0, 0)], "absolute").patterns[0].half().numpy()
    np.testing.assert_array_equal(found, expected)


def test_a_random_encoder_encodes_the_same_patterns(tmp_path, llama):
    study = tiny_study(
        tmp_path, encoding={"shard_prompts": 5, "precision": "float32", "random_encoder": True}
    )
    torch.manual_seed(0)
    APMAEModel(encoder_config(study.config)).save_pretrained(study.path(ENCODER))
    before = torch.random.get_rng_state()
    stage.run(context_of(study, llama))
    assert torch.equal(before, torch.random.get_rng_state())
    untrained = random_encoder(study, load_encoder(study, llama.device))
    ids = [study.study_prompts["input_ids"][7].to_list()]
    pattern = llama.run(ids, [(2, 3)], untrained.config.scaling).patterns[:, 0]
    with torch.inference_mode():
        expected = untrained.encode(pattern)[0].numpy()
    np.testing.assert_allclose(study.encodings["random_cls"][11, 7], expected, atol=5e-3)
    assert np.abs(study.encodings["random_cls"][11, 7] - study.encodings["cls"][11, 7]).max() > 0.1


def test_studies_encoded_together_are_encoded_as_alone(tmp_path, llama, study, monkeypatch):
    """One of them was begun before; each has its own encoder, scaling and readouts."""
    encoder = {"size": "tiny", "patch_size": 4, "scaling": "probability", "row_tokens": False}
    other = tiny_study(
        tmp_path / "other", encoder=encoder, encoding={"shard_prompts": 5, "precision": "float32"}
    )
    torch.manual_seed(1)
    APMAEModel(encoder_config(other.config)).save_pretrained(other.path(ENCODER))
    alone = {}
    for one in (study, other):
        stage.run(context_of(one, llama, key="alone"))
        alone[one] = {name: array[:] for name, array in one.encodings.arrays()}

    def two_of_five(items, description, total=None, **_):
        yield from list(items)[:2]

    stage.run(context_of(study, llama, key="together", progress=two_of_five))
    captured, capture = [], llama.capture_patches
    monkeypatch.setattr(
        llama, "capture_patches", lambda ids, *more: captured.extend(ids) or capture(ids, *more)
    )
    stage.run_together([(study, "together"), (other, "together")], silent, llama)
    assert len(captured) == 24
    for one, expected in alone.items():
        assert one.encodings.attrs["key"] == "together"
        for name, values in expected.items():
            np.testing.assert_allclose(one.encodings[name][:], values, atol=1e-3, err_msg=name)
