"""Fixtures that several test modules use."""

import pytest
from tiny import tiny_llama

from apmae.target import Target
from apmae.target.attention import ATTENTION_NAME


@pytest.fixture
def llama():
    """The tiny Llama as a target."""
    model = tiny_llama()
    model.set_attn_implementation(ATTENTION_NAME)
    return Target(model, None, "tiny-llama")
