"""The released model's own outputs (release_checkpoint/expected.safetensors), reproduced."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu
from torch.testing import assert_close
from transformers import AutoModel

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.paper_release import is_released_config, translate_config
from apmae.autoencoder.patterns import causal_patch_indices, log_softmax_masked, patchify, scale
from apmae.autoencoder.tokens import mask_tokens
from apmae.common.errors import ApmaeError

CHECKPOINT = Path(__file__).parent / "release_checkpoint"
GRID = 8
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(scope="module")
def model():
    return APMAEModel.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def expected():
    return load_file(CHECKPOINT / "expected.safetensors")


@pytest.fixture(scope="module")
def patterns(expected):
    scores = expected["scores"][:, 0]
    return scale(log_softmax_masked(scores.clone()), "min_normalized")


@pytest.fixture(scope="module")
def noise(expected):
    """Noise whose order is the release's: visible patches first, then the masked ones."""
    order = torch.cat([expected["visible_indices"], expected["masked_indices"]], dim=1)
    rank_in_grid = torch.zeros(len(order), GRID * GRID).scatter(1, order, torch.arange(36.0).expand(3, -1))
    return rank_in_grid[:, causal_patch_indices(GRID, order.device)]


def test_attention_and_scaled_pattern(expected, patterns):
    scores = expected["scores"][:, 0]
    assert_close(log_softmax_masked(scores.clone()).exp(), expected["attention"][:, 0], **CLOSE)
    assert_close(patterns, expected["scaled"][:, 0], **CLOSE)


def test_masked_and_visible_indices(model, expected, noise):
    masking = mask_tokens(noise, model.config)
    places = causal_patch_indices(GRID, noise.device)
    assert torch.equal(places[masking.masked], expected["masked_indices"])
    assert torch.equal(places[masking.visible], expected["visible_indices"])


def test_predicted_patches_and_loss(model, expected, patterns, noise):
    output = model(patterns, noise)
    reconstructed = patchify(output.reconstruction, 8, causal=False)
    given = patchify(patterns, 8, causal=False)
    row = torch.arange(3)[:, None]
    masked, visible = expected["masked_indices"], expected["visible_indices"]
    assert_close(given[row, masked], expected["masked_patches"], **CLOSE)
    assert_close(reconstructed[row, masked], expected["predicted_patches"], **CLOSE)
    assert torch.equal(reconstructed[row, visible], given[row, visible])
    assert_close(output.loss, expected["loss"][0], **CLOSE)


def test_encoding_of_all_patches(model, expected, patterns):
    assert_close(model.encode_sequence(patterns), expected["encoded_all_patches"], **CLOSE)
    assert_close(model.encode(patterns), expected["encoded_all_patches"][:, 0], **CLOSE)
    last_row = expected["encoded_all_patches"][:, 1 + 7 * 8 :].mean(1)
    assert_close(model.encode(patterns, "row"), last_row, **CLOSE)


def released_decoder(state, encoded, visible, masked, heads):
    """The release's decoder, step by step; its single layer, `enc_to_dec` first."""

    def layer_norm(x, name):
        weight, bias = state[f"decoder.transformer.{name}.weight"], state[f"decoder.transformer.{name}.bias"]
        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps=1e-12)

    def linear(x, name):
        return torch.nn.functional.linear(
            x, state[f"decoder.{name}.weight"], state.get(f"decoder.{name}.bias")
        )

    x = linear(encoded, "enc_to_dec")
    count, places, dim = len(x), state["decoder.pos_embedding"].shape[1] - 1, x.shape[-1]
    tokens = torch.zeros(count, places, dim)
    row = torch.arange(count)[:, None]
    tokens[row, visible] = state["decoder.mask_token"].expand(*visible.shape, dim)
    x = torch.cat([x[:, :1], tokens], dim=1) + state["decoder.pos_embedding"]
    qkv = linear(layer_norm(x, "layers.0.0.norm"), "transformer.layers.0.0.to_qkv")
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
    x = x + linear((weights @ value).transpose(1, 2).flatten(2), "transformer.layers.0.0.to_out.0")
    inner = gelu(linear(layer_norm(x, "layers.0.1.net.0"), "transformer.layers.0.1.net.1"))
    x = x + linear(inner, "transformer.layers.0.1.net.4")
    return linear(layer_norm(x, "norm"), "to_pixels")[:, 1:][row, masked]


def test_a_decoder_of_another_width_than_the_encoder(expected, patterns, noise, tmp_path):
    """As the release's code saves it: `enc_to_dec`, and everything of the decoder 40 wide."""
    generator = torch.Generator().manual_seed(0)
    config = json.loads((CHECKPOINT / "config.json").read_text()) | {"decoder_dim": 40}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = load_file(CHECKPOINT / "model.safetensors")
    for name, tensor in state.items():
        if name.startswith("decoder."):
            shape = [40 if size == 48 else size for size in tensor.shape]
            state[name] = torch.randn(shape, generator=generator) / 5
    state["decoder.enc_to_dec.weight"] = torch.randn(40, 48, generator=generator) / 5
    state["decoder.enc_to_dec.bias"] = torch.randn(40, generator=generator)
    save_file(state, tmp_path / "model.safetensors")

    model = APMAEModel.from_pretrained(tmp_path)
    masked, visible = expected["masked_indices"], expected["visible_indices"]
    masking = mask_tokens(noise, model.config)
    with torch.no_grad():
        encoded = model.encoder(model.encoder.embed_visible(model.tokenize(patterns), masking))
        reconstruction = model(patterns, noise).reconstruction
    predicted = patchify(reconstruction, 8, causal=False)[torch.arange(3)[:, None], masked]
    assert_close(predicted, released_decoder(state, encoded, visible, masked, heads=2), **CLOSE)
    model.save_pretrained(tmp_path / "ours")
    assert APMAEModel.from_pretrained(tmp_path / "ours").config.decoder_dim == 40


def test_config_holds_the_model_and_nothing_of_its_training(model):
    wanted = APMAEConfig(
        pattern_size=64,
        patch_size=8,
        encoder_layers=2,
        encoder_dim=48,
        encoder_heads=4,
        encoder_head_dim=16,
        encoder_mlp_dim=96,
        decoder_layers=1,
        decoder_dim=48,
        decoder_heads=2,
        decoder_head_dim=16,
        decoder_mlp_dim=64,
        decoder_context="cls",
        encode_patches="all",
        scaling="min_normalized",
        dtype="float32",
    )
    assert model.config.to_diff_dict() == wanted.to_diff_dict()


def test_saves_in_our_format(model, patterns, noise, tmp_path):
    model.save_pretrained(tmp_path)
    assert not is_released_config(APMAEConfig.get_config_dict(tmp_path)[0])
    again = APMAEModel.from_pretrained(tmp_path)
    assert torch.equal(again(patterns, noise).loss, model(patterns, noise).loss)
    assert torch.equal(again.encode(patterns), model.encode(patterns))


def test_auto_model_loads_it(model, patterns):
    auto = AutoModel.from_pretrained(CHECKPOINT)
    assert torch.equal(auto.encode(patterns), model.encode(patterns))


def test_options_can_be_overridden(patterns):
    causal = APMAEModel.from_pretrained(CHECKPOINT, encode_patches="causal")
    assert causal.encode_sequence(patterns).shape == (3, 1 + 36, 48)


def test_scalers_of_released_training_runs():
    released, _ = APMAEConfig.get_config_dict(CHECKPOINT)
    assert translate_config(released | {"attention_scaler": None})["scaling"] == "probability"
    with pytest.raises(ApmaeError, match="attention_scaler 'log' is not supported"):
        translate_config(released | {"attention_scaler": "log"})


def test_missing_key_is_named():
    released, _ = APMAEConfig.get_config_dict(CHECKPOINT)
    del released["max_length"]
    with pytest.raises(ApmaeError, match=r"config\.json has no max_length"):
        translate_config(released)
