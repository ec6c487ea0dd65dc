"""The output projections of every supported family, and starting from a layer in the middle."""

import pytest
import torch
from helpers.families import INPUT_IDS, SUPPORTED

from apmae.common.errors import ApmaeError
from apmae.target_model import Target
from apmae.target_model.projections import output_projections

FAMILIES = pytest.mark.parametrize("family", SUPPORTED, ids=lambda family: family.name)


@FAMILIES
def test_zeroing_a_heads_columns_equals_scaling_it_by_zero(family):
    target = Target(family.make(), None, family.name)
    changed = family.make()
    output_projections(changed)[1].columns[:, 2] = 0
    with torch.inference_mode():
        expected = changed(input_ids=INPUT_IDS, use_cache=False).logits[:, -1]
    with target.scale_heads({(1, 2): 0.0}):
        found = target.logits(INPUT_IDS)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not torch.allclose(found, target.logits(INPUT_IDS), rtol=1e-3)


@FAMILIES
def test_passes_that_begin_at_a_layer_are_whole_passes(family):
    target = Target(family.make(), None, family.name)
    rows = torch.tensor([2, 0, 2])
    places = [3, INPUT_IDS.shape[1] - 1]
    _, inputs = target.layer_inputs(INPUT_IDS, places, {0, 1})
    with target.scale_heads({(1, 2): 0.0}):
        whole = target.logits_at(INPUT_IDS[rows], places)
        for start in (0, 1):
            found = target.logits_from(start, inputs, rows, INPUT_IDS[rows], places)
            torch.testing.assert_close(found, whole)
    torch.testing.assert_close(
        target.logits_at(INPUT_IDS, places),
        target.logits_from(1, inputs, torch.arange(3), INPUT_IDS, places),
    )


def test_a_restarted_pass_leaves_nothing_behind_even_where_it_fails(llama):
    ids = torch.randint(0, 512, (2, 24), generator=torch.Generator().manual_seed(0))
    plain = llama.logits(ids)
    _, inputs = llama.layer_inputs(ids, [23], {2})

    def fail(*_):
        raise RuntimeError("inside")

    handle = llama.model.model.layers[2].mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="inside"):
        llama.logits_from(2, inputs, torch.arange(2), ids, [23])
    handle.remove()
    assert torch.equal(llama.logits(ids), plain)
    assert all("forward" not in layer.__dict__ for layer in llama.model.model.layers)


def test_a_forward_that_somebody_put_there_is_put_back(llama):
    ids = torch.randint(0, 512, (1, 8), generator=torch.Generator().manual_seed(0))
    first = llama.model.model.layers[0]
    theirs = first.forward
    first.forward = theirs
    llama.logits_from(1, llama.layer_inputs(ids, [7], {1})[1], torch.arange(1), ids, [7])
    assert first.__dict__["forward"] is theirs


def test_a_model_without_known_projections_is_refused(llama):
    attention = llama.model.model.layers[1].self_attn
    attention.mixer = attention.o_proj
    del attention.o_proj
    with pytest.raises(ApmaeError, match="llama: the output projections of 2 of its 3 layers are known"):
        output_projections(llama.model)
