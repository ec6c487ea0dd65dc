"""Fixtures that several test modules use."""

import sys

import pytest
import torch
from helpers.corpora import write_corpus
from helpers.models import tiny_llama, write_target
from hypothesis import settings

from apmae import cli
from apmae.target_model import Target

# The models are tiny: more threads would only wait for each other.
torch.set_num_threads(1)

# Examples are slow where the machine is busy, which says nothing of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items):
    """Files with slow tests first, so that at the end no process works on one while the others wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def llama():
    """The tiny Llama as a target."""
    return Target(tiny_llama(), None, "tiny-llama")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The directory of a small Java corpus."""
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory)
    return directory


@pytest.fixture(scope="module")
def target(corpus, tmp_path_factory):
    """A tiny target that was fitted to the corpus, from its directory."""
    directory = tmp_path_factory.mktemp("target")
    write_target(directory, corpus)
    return Target.load(str(directory), dtype="float32", device="cpu")


@pytest.fixture
def apmae(monkeypatch, capsys):
    """Run the command line: (arguments) -> (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["apmae", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code, *capsys.readouterr())

    return call
