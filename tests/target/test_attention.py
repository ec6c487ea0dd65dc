"""Capture and head scaling against the model's own eager attention."""

import threading

import pytest
import torch
from tiny import tiny_llama
from transformers import Gemma2Config, Gemma2ForCausalLM, GptOssConfig, GptOssForCausalLM

from apmae.errors import ApmaeError
from apmae.patterns import patchify, scale
from apmae.target import Target, log_probs
from apmae.target.attention import ATTENTION_NAME

IDS = torch.randint(0, 512, (3, 24), generator=torch.Generator().manual_seed(1))


def eager_attentions(model, attention_mask=None):
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        output = model(input_ids=IDS, attention_mask=attention_mask, output_attentions=True, use_cache=False)
    model.set_attn_implementation(ATTENTION_NAME)
    return output.logits[:, -1], torch.stack(output.attentions, 1)


def captured(target, attention_mask=None):
    logits, layers = target.capture(IDS, lambda _, log_probs: log_probs.exp(), attention_mask=attention_mask)
    return logits, torch.stack([layers[layer] for layer in range(target.n_layers)], 1)


def gemma2():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=512,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=7,
            attn_logit_softcapping=0.02,
        )
    ).eval()


def gpt_oss():
    torch.manual_seed(0)
    model = GptOssForCausalLM(
        GptOssConfig(
            vocab_size=512,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            num_local_experts=2,
            num_experts_per_tok=1,
            sliding_window=7,
        )
    ).eval()
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.sinks)
    return model


@pytest.mark.parametrize("make", [tiny_llama, gemma2, gpt_oss], ids=["llama", "soft cap", "sinks"])
def test_patterns_are_the_models_own_attention(make):
    model = make()
    logits, attentions = eager_attentions(model)
    model.set_attn_implementation(ATTENTION_NAME)
    found_logits, found = captured(Target(model, None, "tiny"))
    torch.testing.assert_close(found, attentions, atol=1e-5, rtol=0)
    torch.testing.assert_close(found_logits, logits, atol=1e-5, rtol=0)


def test_sinks_leave_rows_that_sum_below_one():
    model = gpt_oss()
    model.set_attn_implementation(ATTENTION_NAME)
    _, found = captured(Target(model, None, "tiny"))
    assert (found.sum(-1) < 0.99).all()


def test_padding_is_masked(llama):
    mask = torch.ones_like(IDS)
    mask[1, :5] = 0
    _, attentions = eager_attentions(llama.model, mask)
    _, found = captured(llama, mask)
    torch.testing.assert_close(found[1, ..., 5:, :], attentions[1, ..., 5:, :], atol=1e-5, rtol=0)
    assert (found[1, ..., :5] == 0).all()


def test_capturing_does_not_change_the_logits(llama):
    assert torch.equal(captured(llama)[0], llama.logits(IDS))


def test_chosen_heads_equal_all_heads_and_keep_their_order(llama):
    every = llama.run(IDS).patterns
    heads = [(2, 3), (0, 1), (2, 0)]
    chosen = llama.run(IDS, heads=heads).patterns
    assert every.shape == (3, 3, 4, 24, 24)
    for index, (layer, head) in enumerate(heads):
        torch.testing.assert_close(chosen[:, index], every[:, layer, head])


def test_layers_without_a_chosen_head_are_not_reduced(llama):
    seen = []
    llama.capture(
        IDS, lambda layer, log_probs: seen.append((layer, log_probs.shape[1])), heads=[(1, 0), (1, 2)]
    )
    assert seen == [(1, 2)]


@pytest.mark.parametrize("make", [tiny_llama, gemma2, gpt_oss], ids=["llama", "soft cap", "sinks"])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("band_values", [1, 1 << 20])
def test_patches_are_those_of_the_whole_patterns(make, padding, band_values, monkeypatch):
    monkeypatch.setattr(log_probs, "BAND_VALUES", band_values)
    model = make()
    model.set_attn_implementation(ATTENTION_NAME)
    mask = torch.ones_like(IDS)
    mask[1, :padding] = 0
    target = Target(model, None, "tiny")
    heads = [(0, 3), (1, 0), (1, 3)]
    _, whole = target.capture(IDS, lambda _, values: patchify(values, 4), heads, mask)
    _, patches = target.capture(IDS, lambda _, values: values, heads, mask, patch_size=4)
    for layer in (0, 1):
        torch.testing.assert_close(patches[layer].exp(), whole[layer].exp(), atol=1e-6, rtol=0)


def test_tokens_that_do_not_fill_the_patches_are_refused(llama):
    with pytest.raises(ApmaeError, match="24 tokens have no whole patches of side 5"):
        llama.capture(IDS, lambda _, values: values, patch_size=5)


def test_run_scales_as_the_pattern_functions_do(llama):
    _, layers = llama.capture(IDS, lambda _, log_probs: log_probs)
    torch.testing.assert_close(llama.run(IDS).patterns[:, 1], scale(layers[1], "min_normalized"))


def zeroed_projection(heads):
    """The tiny Llama with the output projection's columns of these heads set to zero."""
    model = tiny_llama()
    for layer, head in heads:
        model.model.layers[layer].self_attn.o_proj.weight.data[:, head * 8 : (head + 1) * 8] = 0
    with torch.inference_mode():
        return model(input_ids=IDS).logits[:, -1]


def test_scaling_by_zero_equals_zeroing_the_projections_columns(llama):
    heads = [(0, 1), (2, 3), (2, 0)]
    with llama.scale_heads(dict.fromkeys(heads, 0.0)):
        found = llama.logits(IDS)
    torch.testing.assert_close(found, zeroed_projection(heads), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, llama.logits(IDS), atol=1e-3)


def test_every_row_of_a_batch_can_have_its_own_intervention(llama):
    factors = torch.ones(3, 3, 4)
    factors[1, 0, 1] = 0
    factors[2, 2, 3] = 0
    with llama.scale_heads(factors):
        found = llama.logits(IDS)
    expected = [llama.logits(IDS)[0], zeroed_projection([(0, 1)])[1], zeroed_projection([(2, 3)])[2]]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_nested_scaling_multiplies_and_nothing_is_left_behind(llama):
    plain = llama.logits(IDS)
    with llama.scale_heads({(0, 0): 0.5}):
        half = llama.logits(IDS)
        with llama.scale_heads({(0, 0): 2.0}):
            torch.testing.assert_close(llama.logits(IDS), plain)
        assert torch.equal(llama.logits(IDS), half)
    with pytest.raises(RuntimeError, match="inside"), llama.scale_heads({(0, 0): 0.0}):
        raise RuntimeError("inside")
    assert torch.equal(llama.logits(IDS), plain)


def test_capture_sees_the_effect_of_scaling_on_later_layers(llama):
    plain = llama.run(IDS).patterns
    with llama.scale_heads({(0, 1): 0.0}):
        scaled = llama.run(IDS).patterns
    torch.testing.assert_close(scaled[:, 0], plain[:, 0])
    assert not torch.allclose(scaled[:, 1], plain[:, 1], atol=1e-4)


def test_two_targets_do_not_touch_each_other(llama):
    other_model = tiny_llama(seed=1)
    other_model.set_attn_implementation(ATTENTION_NAME)
    other = Target(other_model, None, "other")
    plain = other.logits(IDS)
    with llama.scale_heads({(0, 0): 0.0}):
        scaled = llama.logits(IDS)
        assert torch.equal(other.logits(IDS), plain)
        with other.scale_heads({(1, 1): 0.0}):
            assert torch.equal(llama.logits(IDS), scaled)


def test_threads_do_not_see_each_others_interventions(llama):
    plain = llama.logits(IDS)
    found = []
    with llama.scale_heads({(0, 0): 0.0}):
        thread = threading.Thread(target=lambda: found.append(llama.logits(IDS)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], plain)


def test_unknown_heads_and_shapes_are_refused(llama):
    with (
        pytest.raises(ApmaeError, match=r"no head \(3, 0\): 3 layers of 4 heads"),
        llama.scale_heads({(3, 0): 0.0}),
    ):
        pass
    with pytest.raises(ApmaeError, match=r"shape \(4, 3\) do not fit"), llama.scale_heads(torch.ones(4, 3)):
        pass


def test_a_model_that_bypasses_the_interface_is_refused():
    model = tiny_llama()
    model.set_attn_implementation("eager")
    with pytest.raises(ApmaeError, match="0 of 3 layers"):
        Target(model, None, "eager-llama")
