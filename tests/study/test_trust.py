"""A study's or an intervention's directory cannot make its reader run code."""

import json
import shutil

import pytest
from helpers.corpora import write_corpus
from helpers.models import write_target
from helpers.studies import tiny_config

from apmae.common.errors import ApmaeError
from apmae.intervention import Intervention, Zero, export_model
from apmae.study import Study
from apmae.target_model import Target

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({ran!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "llama"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def ran(tmp_path):
    return tmp_path / "the code ran"


@pytest.fixture
def target(tmp_path, ran):
    """A model's directory with code of its own that leaves a mark when it runs."""
    write_corpus(tmp_path / "corpus", packages=1, files=1)
    directory = write_target(tmp_path / "target", tmp_path / "corpus") or tmp_path / "target"
    (directory / "own.py").write_text(CODE.format(ran=str(ran)))
    config = json.loads((directory / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def study(tmp_path, target):
    return Study.create(
        tiny_config(
            tmp_path / "run", target={"model": str(target), "dtype": "float32", "trust_remote_code": True}
        )
    )


def test_what_a_studys_directory_says_does_not_count(study, ran):
    assert study.config.target.trust_remote_code
    opened = Study.open(study.directory)
    assert not opened.config.target.trust_remote_code
    Target.from_config(opened.config.target)
    assert not ran.exists()
    trusting = Study.open(study.directory, trust_remote_code=True)
    Target.from_config(trusting.config.target)
    assert ran.exists()


def test_what_an_intervention_says_does_not_count(study, ran, tmp_path):
    Intervention(((0, 1),), Zero(), target=study.config.target).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "intervention.json").read_text())["target"]["trust_remote_code"]
    export_model(tmp_path / "saved", tmp_path / "out")
    assert not ran.exists()
    shutil.rmtree(tmp_path / "out")
    export_model(tmp_path / "saved", tmp_path / "out", trust_remote_code=True)
    assert ran.exists()


def test_a_model_that_is_nothing_without_its_code_is_refused_in_one_line(study, target, ran):
    config = json.loads((target / "config.json").read_text())
    config["model_type"] = "own-kind"
    (target / "config.json").write_text(json.dumps(config))
    with pytest.raises(ApmaeError, match="cannot be loaded") as refused:
        Target.from_config(Study.open(study.directory).config.target)
    assert "\n" not in str(refused.value)
    assert not ran.exists()
