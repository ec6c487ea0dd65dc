"""Capture and head scaling against every family's own attention; docs/targets.md says the same."""

import re
from pathlib import Path

import pytest
import torch
from helpers.families import (
    ATTENTION_MASK,
    INPUT_IDS,
    LENGTH_TOKENS,
    PADDING,
    PROMPTS,
    REFUSED,
    SUPPORTED,
    forward,
    measure,
    on_path,
    page,
    projection_inputs_changed,
)
from torch.overrides import TorchFunctionMode

from apmae.autoencoder.patterns import patchify
from apmae.common.errors import ApmaeError
from apmae.target_model import Completions, Target, capture, log_probs

WITHOUT_CACHE = ("BLOOM", "Falcon", "MPT")
"""Families whose adapters compute without a key-value cache."""

PAGE = Path(__file__).parents[2] / "docs" / "targets.md"


def name(family):
    return family.name


@pytest.fixture(params=["sdpa", "explicit"])
def path(request):
    """Both ways to make a layer's output; SDPA cannot make those with a soft cap or sinks."""
    with on_path(request.param):
        yield request.param


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_patterns_and_logits_are_the_models_own(family, path):
    measured = measure(family, path)
    assert measured.refusal is None
    assert measured.difference <= 1e-5
    assert measured.logits_difference <= 1e-5


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_a_plain_pass_is_sdpa_unless_the_layer_is_beyond_it(family):
    with CountingSDPA() as counted:
        target = Target(family.make(), None, family.name)
        counted.calls = 0
        logits = target.logits(INPUT_IDS, ATTENTION_MASK)
    beyond = {"soft cap", "sinks"} & set(measure(family).traits)
    assert counted.calls == (0 if beyond else target.n_layers)
    expected = forward(family.make()).logits[:, -1]
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


class CountingSDPA(TorchFunctionMode):
    """Counts the calls of SDPA."""

    calls = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_nothing_attends_to_padding_or_to_what_comes_later(family):
    patterns = measure(family).patterns
    assert len(patterns) == 2
    for pattern in patterns:
        assert (pattern[1, ..., :PADDING] == 0).all()
        assert (pattern.triu(1) == 0).all()


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_patches_are_those_of_the_whole_patterns(family, at_once, monkeypatch):
    monkeypatch.setattr(log_probs, "CACHED_VALUES", at_once * 2 * 4 * LENGTH_TOKENS)
    monkeypatch.setattr(capture, "REDUCED_VALUES", at_once * LENGTH_TOKENS**2)
    target = Target(family.make(), None, family.name)
    heads = [(0, 2), (0, 3), (1, 1)]
    _, whole = target.capture(INPUT_IDS, lambda _, values: patchify(values, 4), heads, ATTENTION_MASK)
    kept = target.capture_patches(INPUT_IDS, 4, lambda _, values: values.clone(), heads, ATTENTION_MASK)
    patches = kept[1]
    assert set(patches) == {0, 1}
    for layer in patches:
        torch.testing.assert_close(torch.cat(patches[layer]), whole[layer])


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_hidden_states_are_the_models_own(family):
    target = Target(family.make(), None, family.name)
    returned = []
    last = target._blocks[-1].register_forward_hook(lambda _module, _args, output: returned.append(output))
    options = {"attention_mask": ATTENTION_MASK, "output_hidden_states": True, "use_cache": False}
    with torch.inference_mode(), target.recording_hidden_states((0, 1, 2)) as recorded:
        states = target.model(input_ids=INPUT_IDS, **options).hidden_states
    last.remove()
    target.logits(INPUT_IDS, ATTENTION_MASK)
    assert {depth: len(passes) for depth, passes in recorded.items()} == {0: 1, 1: 1, 2: 1}
    for depth in (0, 1):
        torch.testing.assert_close(recorded[depth][0], states[depth][:, -1].float())
    output = returned[0] if isinstance(returned[0], torch.Tensor) else returned[0][0]
    torch.testing.assert_close(recorded[2][0], output[:, -1].float())
    assert states[1].shape[-1] == target.hidden_size


def test_the_last_hidden_state_enters_the_final_norm(llama):
    with torch.inference_mode(), llama.recording_hidden_states((llama.n_layers,)) as recorded:
        logits = llama.logits(INPUT_IDS)
    with torch.inference_mode():
        found = llama.model.lm_head(llama.model.model.norm(recorded[llama.n_layers][0]))
    torch.testing.assert_close(found, logits)


def test_sinks_leave_rows_that_sum_below_one():
    sinks = next(family for family in SUPPORTED if "sinks" in measure(family).traits)
    for pattern in measure(sinks).patterns:
        assert (pattern.sum(-1) < 1).all()
        assert pattern.sum(-1)[0].min() < 0.5


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_scaling_and_replacing_change_the_input_of_the_output_projection(family, path):
    target = Target(family.make(), None, family.name)
    shape = (target.n_layers, target.n_heads)
    factors = torch.ones(PROMPTS, *shape)
    factors[0, 0, 1], factors[1, 1, 3], factors[2, 1] = 0, 0.5, 0
    replacement = torch.randn(*shape, target._head_sizes[0], generator=torch.Generator().manual_seed(2))
    with target.scale_heads(factors, replacement):
        found = target.logits(INPUT_IDS, ATTENTION_MASK)

    def change(layer, output):
        changed = output.clone()
        changed[0, :, 1] = replacement[0, 1] if layer == 0 else output[0, :, 1]
        if layer == 1:
            changed[1, :, 3] = 0.5 * output[1, :, 3] + 0.5 * replacement[1, 3]
            changed[2] = replacement[1]
        return changed

    model = family.make()
    with projection_inputs_changed(model, family, change):
        expected = forward(model).logits[:, -1]
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (found - forward(model).logits[:, -1]).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_gradients_by_factors_are_those_of_the_log_probabilities(family, path):
    target = Target(family.make(), None, family.name)
    prompts, next_ids = INPUT_IDS[[0, 2]], torch.tensor([5, 9])
    shape = (target.n_layers, target.n_heads)
    at = torch.full(shape, 0.8)
    gradients = target.factor_gradients(Completions.of(prompts, next_ids[:, None].tolist()), at)
    assert gradients.shape == (2, *shape)

    def log_probs(factors):
        with target.scale_heads(factors):
            return target.logits(prompts).double().log_softmax(-1).gather(1, next_ids[:, None])[:, 0]

    # Along each prompt's own gradient, where the slope is the gradient's length.
    direction = gradients / gradients.flatten(1).norm(dim=1)[:, None, None]
    step = 2e-3
    slope = (log_probs(at + step * direction) - log_probs(at - step * direction)) / (2 * step)
    torch.testing.assert_close(gradients.flatten(1).norm(dim=1).double(), slope, rtol=2e-2, atol=5e-4)
    assert gradients.norm() > 1e-2


@pytest.mark.parametrize("family", REFUSED, ids=name)
def test_other_models_are_refused_in_one_line_that_names_them(family):
    refusal = measure(family).refusal
    assert "\n" not in refusal
    assert refusal.startswith(
        f"target.model '{family.name}' ({measure(family).model_type}) cannot be captured: "
    )


def test_the_table_in_the_docs_is_what_was_measured():
    assert without_bounds(PAGE.read_text()) == without_bounds(page()), "remake it with `make docs`"


def without_bounds(text):
    """Rounding differs between machines; the limit is tested above."""
    return re.sub(r"\| 1e-\d+ \|", "| |", text)


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_the_logit_lens_behind_the_last_layer_is_the_model(family):
    target = Target(family.make(), None, family.name)
    with target.recording_hidden_states([target.n_layers], slice(-4, None)) as hidden:
        target.logits(INPUT_IDS)
    found = target.logit_lens(hidden[target.n_layers][0])
    with torch.inference_mode():
        expected = target.model(input_ids=INPUT_IDS, use_cache=False).logits[:, -4:]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(target.logits(INPUT_IDS), expected[:, -1])


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_attention_outputs_are_those_of_the_output_projections(family):
    target = Target(family.make(), None, family.name)
    silenced = projection_inputs_changed(target.model, family, lambda _layer, inputs: inputs * 0)
    with silenced, target.recording_attention_outputs() as without:
        target.logits(INPUT_IDS)
    with target.recording_attention_outputs() as recorded:
        target.logits(INPUT_IDS)
    assert len(recorded) == target.n_layers
    bias = without[0][0]
    assert bias.shape == (PROMPTS, target.hidden_size)
    torch.testing.assert_close(bias, bias[:1].expand_as(bias))
    assert not torch.allclose(recorded[0][0], bias)


@pytest.mark.parametrize("family", SUPPORTED, ids=name)
def test_last_rows_are_the_patterns_in_a_pass_and_with_a_cache(family, path):
    target = Target(family.make(), None, family.name)
    _, patterns = target.capture(INPUT_IDS, lambda _, log_probs: log_probs[:, :, -1])
    with target.recording_last_rows() as last, torch.inference_mode():
        target.model(input_ids=INPUT_IDS, use_cache=False)
        for layer, row in enumerate(last.summarized(torch.clone)):
            torch.testing.assert_close(row, patterns[layer])
        if family.name.split(",")[0] in WITHOUT_CACHE:
            with pytest.raises(ApmaeError, match="this model runs without a key-value cache here"):
                target.model(input_ids=INPUT_IDS, use_cache=True)
            return
        begun = target.model(input_ids=INPUT_IDS[:, :-1], use_cache=True)
        assert last.summarized(torch.clone)[0].shape[-1] == LENGTH_TOKENS - 1
        target.model(input_ids=INPUT_IDS[:, -1:], past_key_values=begun.past_key_values)
    rows = last.summarized(torch.clone)
    assert len(rows) == target.n_layers
    for layer, row in enumerate(rows):
        seen = row.shape[-1]  # a window's cache has no more than the window
        torch.testing.assert_close(row, patterns[layer][..., -seen:], atol=1e-5, rtol=1e-4)
        assert (patterns[layer][..., :-seen] == -torch.inf).all()
