"""Capture, head scaling and replacement on one model; tests/target_model/test_families.py has the others."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.families import on_path
from helpers.models import tiny_llama

from apmae.autoencoder.patterns import row_statistics, row_statistics_of_band, scale
from apmae.common.errors import ApmaeError
from apmae.target_model import Target, capture, log_probs

IDS = torch.randint(0, 512, (3, 24), generator=torch.Generator().manual_seed(1))


def captured(target, attention_mask=None):
    logits, layers = target.capture(IDS, lambda _, log_probs: log_probs.exp(), attention_mask=attention_mask)
    return logits, torch.stack([layers[layer] for layer in range(target.n_layers)], 1)


@pytest.mark.parametrize("length", [64, 1000, 4096])
def test_long_prompts_are_exact_and_only_one_layer_is_held(length):
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = tiny_llama(**sizes, max_position_embeddings=4096, attn_implementation="eager")
    for parameter in model.parameters():
        parameter.data *= 5  # makes attention uneven
    ids = torch.randint(0, 512, (1, length), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    held = []

    def difference(layer, log_probs):
        assert all(earlier() is None for earlier in held)
        held.append(weakref.ref(log_probs))
        return float((log_probs.exp() - expected[layer]).abs().max())

    _, differences = Target(model, None, "tiny").capture(ids, difference)
    assert len(held) == 2
    assert max(differences.values()) <= 1e-5


def test_prompts_longer_than_the_models_positions_are_refused(llama):
    with pytest.raises(ApmaeError, match="tiny-llama reads at most 512 tokens, the prompts have 513"):
        llama.logits(torch.zeros(1, 513))


@pytest.mark.parametrize("chunk", [1, 5])
@pytest.mark.parametrize("path", ["sdpa", "explicit"])
def test_a_pass_behind_a_key_value_cache_is_that_of_the_whole_prompt(llama, path, chunk):
    with torch.inference_mode(), on_path(path):
        whole = llama.model(IDS, use_cache=False).logits
        first = llama.model(IDS[:, :-chunk], use_cache=True)
        rest = llama.model(IDS[:, -chunk:], past_key_values=first.past_key_values, use_cache=True).logits
    torch.testing.assert_close(rest, whole[:, -chunk:], atol=1e-5, rtol=1e-5)


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


def test_patches_of_few_prompts_are_reduced_at_once_in_the_same_memory(llama, monkeypatch):
    monkeypatch.setattr(log_probs, "CACHED_VALUES", 2 * 4 * 4 * 24)  # bands of two prompts
    monkeypatch.setattr(capture, "REDUCED_VALUES", 1)
    places = []
    _, counts = llama.capture_patches(
        IDS, 4, lambda _, values: places.append(values.data_ptr()) or len(values)
    )
    assert counts == {layer: [2, 1] for layer in range(3)}
    assert len(set(places)) == 2


def test_tokens_that_do_not_fill_the_patches_are_refused(llama):
    with pytest.raises(ApmaeError, match="24 tokens have no whole patches of side 5"):
        llama.capture_patches(IDS, 5, lambda _, values: values)


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
    other = Target(tiny_llama(seed=1), None, "other")
    plain = other.logits(IDS)
    with llama.scale_heads({(0, 0): 0.0}):
        scaled = llama.logits(IDS)
        assert torch.equal(other.logits(IDS), plain)
        with other.scale_heads({(1, 1): 0.0}):
            assert torch.equal(llama.logits(IDS), scaled)


def test_an_exception_inside_the_forward_pass_leaves_nothing_behind(llama):
    plain = captured(llama)

    def fail(layer, _):
        if layer == 1:
            raise RuntimeError("inside")

    with llama.scale_heads({(0, 0): 0.0}), pytest.raises(RuntimeError, match="inside"):
        llama.capture(IDS, fail)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(captured(llama), plain, strict=True))


def test_threads_run_one_model_at_once_each_with_its_own_intervention(llama):
    heads = [(0, 0), (0, 1), (1, 2), (2, 3)]
    expected = []
    for head in heads:
        with llama.scale_heads({head: 0.0}):
            expected.append(captured(llama))
    together = threading.Barrier(len(heads), timeout=60)

    def run(head):
        def reduce(_, log_probs):
            together.wait()  # every thread is in the same layer of its forward pass
            return log_probs.exp()

        with llama.scale_heads({head: 0.0}):
            logits, layers = llama.capture(IDS, reduce)
        return logits, torch.stack(list(layers.values()), 1)

    with ThreadPoolExecutor(len(heads)) as pool:
        found = list(pool.map(run, heads))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def head_outputs(model, ids):
    """What enters each output projection of the tiny Llama: (L, B, T, H, D)."""
    seen = []
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for layer in model.model.layers
    ]
    with torch.inference_mode():
        model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen).unflatten(-1, (4, 8))


def test_mean_head_outputs_are_means_over_prompts_and_positions(llama):
    batches = [IDS[:2], IDS[2:, :5]]
    outputs = [head_outputs(llama.model, ids).flatten(1, 2) for ids in batches]
    found = llama.mean_head_outputs(ids.tolist() for ids in batches)
    torch.testing.assert_close(found, torch.cat(outputs, 1).mean(1))


def test_mean_head_outputs_are_those_before_the_heads_are_scaled(llama):
    plain = llama.mean_head_outputs([IDS])
    with llama.scale_heads({(0, 1): 0.0}):
        scaled = llama.mean_head_outputs([IDS])
    assert torch.equal(scaled[0], plain[0])
    assert not torch.allclose(scaled[1], plain[1], atol=1e-3)


def test_replacing_by_the_mean_of_a_constant_head_changes_nothing(llama):
    ids = IDS[:1, :1]  # one prompt of one token: the mean is the output itself
    means = llama.mean_head_outputs([ids])
    with llama.scale_heads(torch.zeros(3, 4), means):
        torch.testing.assert_close(llama.logits(ids), llama.logits(ids))
        found = llama.logits(ids)
    torch.testing.assert_close(found, llama.logits(ids))
    with llama.scale_heads(torch.zeros(3, 4)):
        assert not torch.allclose(llama.logits(ids), found, atol=1e-3)


def test_nested_replacements_apply_from_the_outside_in(llama):
    inner, outer = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(3)).unbind()
    with llama.scale_heads({(1, 1): 0.25}, outer), llama.scale_heads({(1, 1): 0.5}, inner):
        found = llama.logits(IDS)
    combined = (0.5 * 0.75 * outer + 0.5 * inner) / (1 - 0.125)
    with llama.scale_heads({(1, 1): 0.125}, combined):
        torch.testing.assert_close(found, llama.logits(IDS))


def test_replacements_that_do_not_fit_are_refused(llama):
    wrong = [torch.zeros(3, 4, 7), torch.zeros(4, 8)]
    for replacement in wrong:
        with (
            pytest.raises(ApmaeError, match=r"replacement of shape .* does not fit .* \(3, 4, 8\)"),
            llama.scale_heads({}, replacement),
        ):
            pass
    with (
        pytest.raises(ApmaeError, match="for 2 prompts, the batch has 3"),
        llama.scale_heads(torch.ones(2, 3, 4)),
    ):
        llama.logits(IDS)
    with pytest.raises(ApmaeError, match="at least one prompt"):
        llama.mean_head_outputs([])


def test_unknown_heads_and_shapes_are_refused(llama):
    with (
        pytest.raises(ApmaeError, match=r"no head \(3, 0\): 3 layers of 4 heads"),
        llama.scale_heads({(3, 0): 0.0}),
    ):
        pass
    with pytest.raises(ApmaeError, match=r"shape \(4, 3\) do not fit"), llama.scale_heads(torch.ones(4, 3)):
        pass


@pytest.mark.parametrize("path", ["sdpa", "explicit"])
def test_statistics_of_bands_are_those_of_every_prefix(llama, path):
    ids = torch.randint(0, 512, (3, 40), generator=torch.Generator().manual_seed(1))
    with on_path(path):
        logits, layers = llama.capture_bands(
            ids, [7, 39], lambda _, band: (band, row_statistics_of_band(band.values, band.rows.start))
        )
        found = torch.full((3, llama.n_layers, llama.n_heads, 40, 7), torch.nan)
        for layer, bands in layers.items():
            for band, statistics in bands:
                found[band.prompts, layer, :, band.rows] = statistics
        for length in (2, 8, 9, 33, 40):
            alone, expected = llama.capture(
                ids[:, :length], lambda _, log_probs: row_statistics(log_probs[..., -1, :])
            )
            expected = torch.stack([expected[layer] for layer in range(llama.n_layers)], 1)
            torch.testing.assert_close(found[:, :, :, length - 1], expected, atol=1e-5, rtol=1e-5)
            if length in (8, 40):
                torch.testing.assert_close(logits[:, [8, 40].index(length)], alone, atol=1e-5, rtol=1e-5)
