"""Generated Java, and a tokenizer trained on it."""

import pytest
from accelerate.state import AcceleratorState
from helpers.corpora import write_corpus

from apmae.study.config import CorpusConfig
from experiments.toy_models.files import read_files
from experiments.toy_models.sizes import SEED
from experiments.toy_models.train import ensure_tokenizer


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files of 16 generated packages, some of them held out."""
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory, packages=16, files=2)
    found = read_files(CorpusConfig(source="directory", path=str(directory)), SEED)
    assert found.training
    assert found.held_out
    return found


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory, files):
    """A directory with a tokenizer trained on the files."""
    directory = tmp_path_factory.mktemp("tokenizer")
    ensure_tokenizer(directory, files.training)
    return directory


@pytest.fixture(autouse=True)
def own_accelerate_state():
    """Accelerate keeps one precision per process: the toy models' must not become the other tests'."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
