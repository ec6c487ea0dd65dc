"""Targets whose layers are spread over devices (`target.device: balanced`), as far as a CPU can show.

The second device is "meta": tensors there have a shape and no values, and mixing it with others raises.
"""

import pytest
import torch
from accelerate import dispatch_model
from helpers.models import tiny_llama

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.encoding.forward import encode_patches
from apmae.target_model import Target
from apmae.target_model.attention import ATTENTION_NAME
from apmae.training import capture_tokens

ELSEWHERE = torch.device("meta")
HEADS = [(0, 1), (1, 0), (2, 3)]
IDS = [[1, 2, 3, 4] * 4, [5, 6, 7, 8] * 4]


def test_a_dispatched_target_is_captured_and_scaled(llama, tmp_path):
    """Accelerate's hooks bring a layer's weights from disk when it is its turn."""
    model = tiny_llama(tie_word_embeddings=False)
    llama.model.load_state_dict(model.state_dict())
    model.set_attn_implementation(ATTENTION_NAME)
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    places |= {"model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}
    dispatched = Target(dispatch_model(model, places, "cpu", offload_dir=tmp_path), None, "dispatched")
    assert model.model.layers[2].mlp.up_proj.weight.device == ELSEWHERE
    for target_heads in (None, HEADS):
        expected, found = (target.run(IDS, target_heads) for target in (llama, dispatched))
        assert torch.equal(found.patterns, expected.patterns)
    with llama.scale_heads({(2, 1): 0.0}), dispatched.scale_heads({(2, 1): 0.0}):
        scaled = dispatched.logits(IDS)
        assert torch.equal(scaled, llama.logits(IDS))
    assert not torch.equal(scaled, found.logits)


@pytest.mark.parametrize("row_tokens", [False, True])
def test_training_patterns_end_where_the_encoder_is_trained(llama, row_tokens):
    config = APMAEConfig.tiny(pattern_size=16, patch_size=4, row_tokens=row_tokens)
    tokens = capture_tokens(llama, IDS, [HEADS] * len(IDS), config, ELSEWHERE)
    assert tokens.patches.shape == (6, 10, 16)
    assert {part.device for part in tokens if part is not None} == {ELSEWHERE}


def test_layers_are_encoded_where_the_encoder_is(llama):
    model = APMAEModel(APMAEConfig.tiny(pattern_size=16, patch_size=4)).to(ELSEWHERE).eval()

    def encode(_layer, patches):
        return encode_patches(model, patches, ("cls", "row"), "float32")

    _, layers = llama.capture_patches(IDS, 4, encode)
    (part,) = layers[2]
    assert {name: (tuple(values.shape), values.device) for name, values in part.items()} == {
        "cls": ((2, 4, 128), ELSEWHERE),
        "row": ((2, 4, 128), ELSEWHERE),
        "row_statistics": ((2, 4, 7), ELSEWHERE),
    }
