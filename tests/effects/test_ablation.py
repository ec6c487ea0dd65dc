"""Exact effects against a hook of the test's own, and the draw of the heads that are ablated."""

import numpy as np
import pytest
import torch
from helpers.studies import random_prompts

from apmae.effects.ablation import exact_effects, heads_to_ablate
from apmae.intervention import Mean, Zero

PROMPTS = random_prompts(count=6).filter(purpose="study")


@pytest.mark.parametrize("operation", [Zero(), Mean()], ids=lambda operation: operation.name)
def test_effects_equal_a_hook_on_the_output_projection(llama, operation):
    means = llama.mean_head_outputs([PROMPTS["input_ids"].to_list()])
    heads = [(0, 2), (2, 1), (1, 3)]
    table = exact_effects(llama, heads, operation, PROMPTS, means, batch_size=4)
    ids, true = torch.tensor(PROMPTS["input_ids"].to_list()), PROMPTS["next_token_id"].to_list()

    def outcomes():
        with torch.inference_mode():
            logits = llama.model(ids).logits[:, -1].float()
        return logits.log_softmax(-1)[torch.arange(len(true)), true], logits.argmax(-1).tolist()

    before, plain = outcomes()
    for layer, head in heads:

        def replace(_module, args, head=head, layer=layer):
            output = args[0].unflatten(-1, (4, -1)).clone()
            output[:, :, head] = means[layer, head] if operation.uses_means else 0
            return (output.flatten(-2),)

        projection = llama.model.model.layers[layer].self_attn.o_proj
        handle = projection.register_forward_pre_hook(replace)
        after, predicted = outcomes()
        handle.remove()
        found = table.filter(layer=layer, head=head)
        assert found["prompt_id"].to_list() == PROMPTS["prompt_id"].to_list()
        np.testing.assert_allclose(found["log_probability"], (after - before).numpy(), atol=1e-5)
        expected = [
            int(now == wanted) - int(once == wanted)
            for now, once, wanted in zip(predicted, plain, true, strict=True)
        ]
        assert found["correct"].to_list() == expected


def test_all_heads_are_ablated_where_there_are_no_more():
    assert heads_to_ablate(np.arange(5.0), 5, np.random.default_rng(0)).tolist() == [1] * 5


def test_a_third_each_is_the_largest_and_the_smallest_and_the_rest_drawn():
    attribution = np.random.default_rng(0).permutation(30).astype(float)
    inclusion = heads_to_ablate(attribution, 10, np.random.default_rng(1))
    assert (inclusion > 0).sum() == 10
    assert sorted(attribution[inclusion == 1].astype(int)) == [0, 1, 2, 27, 28, 29]
    assert set(inclusion[(inclusion > 0) & (inclusion < 1)]) == {4 / 24}


def test_heads_weighted_by_their_inclusion_stand_for_all_heads():
    attribution = np.random.default_rng(0).normal(size=40)
    values = attribution**2
    totals = []
    for seed in range(400):
        inclusion = heads_to_ablate(attribution, 12, np.random.default_rng(seed))
        there = inclusion > 0
        totals.append((values[there] / inclusion[there]).sum())
    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - values.sum()) < 4 * error


def test_no_head_is_ablated_where_none_is_asked_for():
    assert not heads_to_ablate(np.arange(9.0), 0, np.random.default_rng(0)).any()
