"""Logits are float32 products, whatever the precision of the weights: all, or each position's largest."""

import pytest
import torch
from helpers.models import tiny_llama
from helpers.tokenizers import byte_level_tokenizer
from transformers import CohereConfig, CohereForCausalLM

from apmae.target_model import Completions, Target
from apmae.target_model.float32_logits import float32_logits

IDS = torch.randint(1, 100, (6, 16), generator=torch.Generator().manual_seed(0))
TOKENIZER = byte_level_tokenizer("class A { int x = 1; }")


def cohere():
    """A model that scales its logits behind the projection."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return CohereForCausalLM(CohereConfig(vocab_size=512, logit_scale=0.5, pad_token_id=0, **sizes)).eval()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [tiny_llama, cohere])
def test_logits_are_float32_products_of_the_last_hidden_state(make, dtype, monkeypatch):
    monkeypatch.setattr("apmae.target_model.float32_logits.VOCABULARY_ROWS", 100)
    model = make().to(dtype)
    target = Target(model, TOKENIZER, "tiny")
    with torch.inference_mode():
        hidden = model.get_decoder()(IDS).last_hidden_state[:, -1]
        plain = model(IDS).logits[:, -1]
    expected = hidden.float() @ model.lm_head.weight.float().T * getattr(model.config, "logit_scale", 1)
    found = target.logits(IDS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found, plain.float())  # these are rounded
    assert not torch.equal(found, found.to(dtype).float())
    assert plain.dtype == dtype  # the model itself is as it was


def test_a_projection_with_a_bias_and_gradients():
    model = tiny_llama().to(torch.bfloat16)
    bias = torch.nn.Linear(32, model.config.vocab_size, bias=True, dtype=torch.bfloat16)
    model.set_output_embeddings(bias)
    target = Target(model.requires_grad_(False), TOKENIZER, "tiny")
    with torch.inference_mode():
        hidden = model.get_decoder()(IDS).last_hidden_state[:, -1].float()
    torch.testing.assert_close(
        target.logits(IDS), hidden @ bias.weight.float().T + bias.bias.float(), rtol=1e-5, atol=1e-6
    )
    assert target.factor_gradients(Completions.of(IDS, IDS[:, :1].tolist()), {}).abs().sum() > 0


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("values", [1, 1 << 20])
def test_the_largest_logits_of_every_position_are_float32_products(bias, values, monkeypatch):
    monkeypatch.setattr("apmae.target_model.float32_logits.LARGEST", 8)
    monkeypatch.setattr("apmae.target_model.float32_logits.GATHERED_VALUES", values)
    model = tiny_llama().to(torch.bfloat16)
    if bias:
        size = model.config.vocab_size
        model.set_output_embeddings(torch.nn.Linear(32, size, bias=True, dtype=torch.bfloat16))
    with torch.inference_mode():
        hidden = model.get_decoder()(IDS).last_hidden_state.float()
        rounded = model(IDS).logits
        exact = torch.nn.functional.linear(hidden, *(each.float() for each in model.lm_head.parameters()))
        with float32_logits(model, largest_only=True):
            found = model(IDS).logits
    assert found.dtype == torch.float32
    largest = rounded.topk(8).indices
    torch.testing.assert_close(found.gather(-1, largest), exact.gather(-1, largest), rtol=1e-5, atol=1e-6)
    assert not torch.equal(found.gather(-1, largest), rounded.float().gather(-1, largest))
    others = torch.ones_like(found, dtype=torch.bool).scatter_(-1, largest, False)
    assert torch.equal(found[others], rounded.float()[others])
    assert torch.equal(found.argmax(-1), exact.argmax(-1))
