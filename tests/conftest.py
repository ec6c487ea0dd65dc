"""Fixtures that several test modules use."""

import sys

import pytest
import torch
from helpers.models import tiny_llama
from hypothesis import settings

from apmae import cli
from apmae.target_model import Target

# The models are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

# Examples are slow where the machine is busy, which says nothing of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture
def llama():
    """The tiny Llama as a target."""
    return Target(tiny_llama(), None, "tiny-llama")


@pytest.fixture
def apmae(monkeypatch, capsys):
    """Run the command line: (arguments) -> (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["apmae", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code, *capsys.readouterr())

    return call
