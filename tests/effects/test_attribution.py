"""Attribution against ablation, which it estimates."""

import numpy as np
import pytest
import torch
from helpers.studies import random_prompts

from apmae.effects.ablation import exact_effects
from apmae.effects.attribution import attributed_effects
from apmae.intervention import Zero

PROMPTS = random_prompts(count=5).filter(purpose="study")


def ablated(target, prompts):
    table = exact_effects(target, target.heads, Zero(), prompts, None, batch_size=4)
    by_head = table["log_probability"].to_numpy().reshape(len(target.heads), prompts.height)
    return torch.from_numpy(by_head.T.copy()).float().view(-1, target.n_layers, target.n_heads)


def test_a_path_of_its_own_for_every_head_gives_the_effect_of_ablating_it(llama):
    attributed = attributed_effects(llama, PROMPTS, partitions=12, points=12, seed=0)
    torch.testing.assert_close(attributed, ablated(llama, PROMPTS), atol=2e-5, rtol=1e-3)


def test_few_parts_come_nearer_than_one_path_for_all_heads(llama):
    exact = ablated(llama, PROMPTS)
    errors = {
        partitions: float((attributed_effects(llama, PROMPTS, partitions, 2, 0) - exact).square().mean())
        for partitions in (1, 4, 12)
    }
    assert errors[12] < errors[4] < errors[1]


def test_a_prompts_attribution_does_not_depend_on_its_batch(llama):
    order = np.random.default_rng(3).permutation(PROMPTS.height).tolist()
    whole = attributed_effects(llama, PROMPTS, 4, 2, seed=5)
    torch.testing.assert_close(attributed_effects(llama, PROMPTS[order], 4, 2, seed=5), whole[order])
    assert not torch.allclose(attributed_effects(llama, PROMPTS, 4, 2, seed=6), whole)


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_layer_that_cannot_be_derived_is_noticed(llama, monkeypatch, error):
    assert llama.has_gradients
    del vars(llama)["has_gradients"]  # it is looked at once

    class Quantised(torch.autograd.Function):
        @staticmethod
        def forward(_context, values):
            return values.clone()

        @staticmethod
        def backward(_context, _gradient):
            raise error("the derivative is not implemented")

    layer = llama.model.model.layers[1].mlp
    monkeypatch.setattr(
        layer, "forward", lambda values, forward=layer.forward: Quantised.apply(forward(values))
    )
    assert not llama.has_gradients
