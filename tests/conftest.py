"""Fixtures that several test modules use."""

import pytest
import torch
from tiny import tiny_llama

from apmae.target import Target

# The models are tiny: more threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def llama():
    """The tiny Llama as a target."""
    return Target(tiny_llama(), None, "tiny-llama")
