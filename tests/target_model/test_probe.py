"""What is checked when a target is loaded, beyond what the families show."""

import pytest
import torch
from helpers.models import tiny_llama
from transformers import BertConfig, BertLMHeadModel, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from apmae.common.errors import ApmaeError
from apmae.target_model import Target
from apmae.target_model.attention import AttentionCall
from apmae.target_model.probe import _reason_to_refuse


def test_a_model_whose_own_attention_does_something_else_is_refused(monkeypatch):
    own = modeling_llama.eager_attention_forward

    def hotter(*arguments, scaling, **options):
        return own(*arguments, scaling=100 * scaling, **options)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", hotter)
    message = r"'tiny' \(llama\) cannot be captured: in layer 0 its patterns differ .* by 0\.\d$"
    with pytest.raises(ApmaeError, match=message):
        Target(tiny_llama(), None, "tiny")


def test_a_model_that_sees_what_comes_later_is_refused():
    config = BertConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    with pytest.raises(ApmaeError, match=r"\(bert\) cannot be captured: layer 0 is not causal"):
        Target(BertLMHeadModel(config).eval(), None, "tiny")


def test_a_model_whose_code_knows_its_own_attention_alone_is_refused():
    """As code of checkpoints does that was written before the attention interface."""

    class Older(LlamaForCausalLM):
        def forward(self, *arguments, **options):
            {"eager": None, "sdpa": None}[self.config._attn_implementation]
            return super().forward(*arguments, **options)

    model = Older(tiny_llama().config).eval()
    message = r"\(llama\) cannot be captured: its code fails with .* interface \(KeyError: 'apmae'\)$"
    with pytest.raises(ApmaeError, match=message):
        Target(model, None, "tiny")


def test_a_layer_whose_keys_are_not_one_for_each_token_is_refused():
    """DeepSeek-V4 attends to compressed keys as well."""
    query, longer = torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 5, 8)
    call = AttentionCall(torch.nn.Identity(), {"query": query, "key": longer, "value": longer})
    assert _reason_to_refuse([call], 1) == "a layer's keys are not one for each token"
