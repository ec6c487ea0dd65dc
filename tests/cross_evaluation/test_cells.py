"""A cell against direct calls of target and encoder; masks that do not depend on the encoder."""

import numpy as np
import pytest
import torch
from helpers.studies import random_prompts, tiny_config

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.patterns import causal_patch_count
from apmae.autoencoder.tokens import mask_tokens
from apmae.common.seeding import torch_generator
from apmae.cross_evaluation import TargetColumn, cells, evaluate_cell, mask_noise
from apmae.target_model import log_probs


def encoder(**overrides):
    torch.manual_seed(0)
    return APMAEModel(APMAEConfig.tiny(pattern_size=16, patch_size=4, **overrides)).eval()


def column(tmp_path, count=3, **target):
    config = tiny_config(tmp_path, target={"dtype": "float32", "batch_size": 2, **target})
    return TargetColumn(config, random_prompts().head(count))


@pytest.mark.parametrize("row_tokens", [False, True])
def test_a_cell_is_the_models_loss_on_every_captured_pattern(tmp_path, llama, row_tokens):
    model, evaluated = encoder(row_tokens=row_tokens), column(tmp_path)
    cell = evaluate_cell(llama, model, evaluated)
    assert cell.select("prompt_id", "layer", "head").rows() == [
        (prompt, layer, head) for prompt in range(3) for layer in range(3) for head in range(4)
    ]
    losses = []
    for prompt_id, input_ids in evaluated.prompts.select("prompt_id", "input_ids").iter_rows():
        patterns = llama.run([input_ids], scaling=model.config.scaling).patterns[0].flatten(0, 1)
        noise = torch.rand(12, 10, generator=torch_generator(0, "evaluation", prompt_id))
        for pattern, its_noise in zip(patterns, mask_noise(noise, 4, 0.5), strict=True):
            with torch.inference_mode():
                losses.append(model(pattern[None], its_noise[None]).loss.item())
    np.testing.assert_allclose(cell["loss"], losses, rtol=1e-4)
    assert cell["loss"].mean() == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_cell_does_not_depend_on_the_batches(tmp_path, llama, monkeypatch):
    model = encoder()
    expected = evaluate_cell(llama, model, column(tmp_path))
    monkeypatch.setattr(cells, "PATTERNS_PER_BATCH", 5)
    monkeypatch.setattr(log_probs, "CACHED_VALUES", 1)  # one prompt at a time
    found = evaluate_cell(llama, model, column(tmp_path, batch_size=3))
    for name in ("loss", "log_error_nats", "mass_error"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)


def test_a_prompts_masks_depend_on_nothing_but_the_prompt(tmp_path, llama):
    model, three = encoder(), column(tmp_path)
    alone = TargetColumn(three.config, three.prompts.tail(1))
    expected = evaluate_cell(llama, model, three).filter(prompt_id=2)["loss"]
    np.testing.assert_allclose(evaluate_cell(llama, model, alone)["loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("mask_ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("grid", [4, 8, 16])
def test_row_tokens_do_not_change_which_patches_are_masked(grid, mask_ratio):
    noise = mask_noise(torch.rand(3, causal_patch_count(grid)), grid, mask_ratio)
    masked = []
    for row_tokens in (False, True):
        sizes = {"pattern_size": 4 * grid, "patch_size": 4, "row_tokens": row_tokens}
        masking = mask_tokens(noise, APMAEConfig.tiny(mask_ratio=mask_ratio, **sizes))
        masked.append([set(row[: masking.masked_patches].tolist()) for row in masking.masked])
    assert masked[0] == masked[1]


def test_the_noise_keeps_its_order_within_each_part():
    noise = torch.tensor([[0.3, 0.9, 0.5, 0.1, 0.8, 0.2]])  # three patches above, a last row of three
    expected = torch.tensor([[0.3, 1.9, 0.5, 0.1, 1.8, 0.2]])
    torch.testing.assert_close(mask_noise(noise, 3, 0.5), expected)
