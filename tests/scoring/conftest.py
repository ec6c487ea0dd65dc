"""A miniature study up to its predictors, and its scorer."""

import pytest
from helpers.corpora import write_corpus
from helpers.models import write_parts
from helpers.studies import write_study

from apmae import pipeline
from apmae.scoring import Scorer
from apmae.study.study_file import load_config

STAGES = ("prompts", "train", "encode", "cluster", "predict")
OVERRIDES = [
    "prompts.tasks=[eol,identifiers,random,noise]",
    "prompts.per_task=48",
    "prediction.features=[clusters]",
    "encoding.detectors=[laplacian_eigenvalues,rauq,logit_lens_entropies]",
]
TOKEN_OVERRIDES = [
    "prompts.format=causal",
    "tokens.windows=30",
    "tokens.per_file=4",
    "tokens.context_tokens=40",
    "tokens.per_window=32",
    "tokens.hidden_dimensions=8",
    "token_predictor.features=confidence+occurrences+hidden+rows+copies",
]


@pytest.fixture(scope="session")
def token_study(tmp_path_factory):
    """A miniature study of windows of 64 tokens, with its predictor of tokens."""
    root = tmp_path_factory.mktemp("tokens")
    file = write_study(root / "study.yaml", *write_parts(root, packages=8, files=3), root / "run")
    config = load_config(file, TOKEN_OVERRIDES)
    return [pipeline.run(config, only=stage) for stage in ("tokens", "token_predictor")][-1]


@pytest.fixture(scope="session")
def study_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    return write_study(root / "study.yaml", *write_parts(root), root / "run")


@pytest.fixture(scope="session")
def study(study_file):
    config = load_config(study_file, OVERRIDES)
    return [pipeline.run(config, only=stage) for stage in STAGES][-1]


@pytest.fixture(scope="session")
def scorer(study):
    return Scorer.load(study.directory)


@pytest.fixture(scope="session")
def unseen(tmp_path_factory):
    """A Java file of a corpus that the study has nothing to do with."""
    directory = tmp_path_factory.mktemp("unseen")
    write_corpus(directory, packages=1, files=1, methods=9)
    path = directory / "p0" / "C0.java"
    path.write_text(path.read_text().replace("class C0", "class Unseen"))
    return path
