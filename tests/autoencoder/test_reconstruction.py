"""Reconstructions: what is visible is the pattern's own; errors against plain NumPy."""

import numpy as np
import pytest
import torch
from helpers.studies import tiny_study

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.patterns import log_softmax_masked, patchify, scale
from apmae.autoencoder.reconstruction import reconstruction_errors
from apmae.report.stage import reconstructions
from apmae.training import encoder_config


def test_visible_patches_are_kept_and_masked_ones_predicted(tmp_path, llama):
    study = tiny_study(tmp_path, report={"reconstructions": 3})
    torch.manual_seed(0)
    model = APMAEModel(encoder_config(study.config)).eval()
    found = reconstructions(study, llama, model)
    held_out = set(study.study_prompts.filter(split="test")["prompt_id"])
    assert {item.prompt_id for item in found} <= held_out
    assert len({(item.layer, item.head) for item in found}) == 3
    for item in found:
        visible = ~np.isnan(item.masked)
        np.testing.assert_array_equal(item.masked[visible], item.pattern[visible])
        np.testing.assert_array_equal(item.reconstruction[visible], item.pattern[visible])
        assert not np.allclose(item.reconstruction[~visible], item.pattern[~visible])
        # Of the four patches of the last row two are masked, of the six above it three.
        assert (~visible).sum() == 5 * 4 * 4
        assert item.loss > 0


def test_the_same_study_shows_the_same(tmp_path, llama):
    study = tiny_study(tmp_path)
    model = APMAEModel(encoder_config(study.config)).eval()
    first, second = (reconstructions(study, llama, model) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.masked, other.masked)


@pytest.mark.parametrize("row_tokens", [False, True])
@pytest.mark.parametrize("scaling", ["min_normalized", "absolute", "probability"])
def test_errors_are_those_of_the_models_own_reconstruction(scaling, row_tokens):
    """Against plain NumPy on whole patterns."""
    torch.manual_seed(0)
    config = {"pattern_size": 16, "patch_size": 4, "scaling": scaling, "row_tokens": row_tokens}
    model = APMAEModel(APMAEConfig.tiny(**config)).eval()
    log_probs = log_softmax_masked(6 * torch.randn(3, 16, 16))
    noise = torch.rand(3, 10)
    found = reconstruction_errors(model, patchify(log_probs, 4), noise)
    for n in range(3):
        with torch.inference_mode():
            output = model(scale(log_probs[n : n + 1], scaling), noise[n : n + 1])
        hidden = np.kron(_grid_mask(output.mask[0, :10].numpy()), np.ones((4, 4))) * np.tri(16) == 1
        predicted = output.reconstruction[0].double().numpy()[hidden]
        true = log_probs[n].double().numpy()
        decoded = {
            "min_normalized": lambda values, true=true: (1 - values) * true[np.isfinite(true)].min(),
            "absolute": lambda values: 16 * values - 16,
            "probability": lambda values: np.log(np.maximum(values, 1e-30)),
        }[scaling](predicted)
        decoded, true = np.clip(decoded, -16, 0), np.clip(true[hidden], -16, 0)
        assert found.loss[n].item() == pytest.approx(output.loss.item(), rel=1e-4)
        expected = np.sqrt(np.mean((decoded - true) ** 2))
        assert found.log_error_nats[n].item() == pytest.approx(expected, rel=1e-4)
        expected = np.abs(np.exp(decoded) - np.exp(true)).sum() / 16
        assert found.mass_error[n].item() == pytest.approx(expected, rel=1e-4)
        uniform = np.broadcast_to(-np.log(np.arange(1, 17))[:, None], (16, 16))[hidden]
        expected = np.sqrt(np.mean((uniform - true) ** 2))
        assert found.uniform_log_error_nats[n].item() == pytest.approx(expected, rel=1e-4)
        expected = np.abs(np.exp(uniform) - np.exp(true)).sum() / 16
        assert found.uniform_mass_error[n].item() == pytest.approx(expected, rel=1e-4)


def _grid_mask(causal):
    grid = np.zeros((4, 4))
    grid[np.tril_indices(4)] = causal
    return grid
