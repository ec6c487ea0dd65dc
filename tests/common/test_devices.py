"""Which precision `auto` stands for, that a study keeps it, and what an emulated one is said to cost."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from helpers.studies import tiny_config

from apmae import pipeline
from apmae.autoencoder import autocasting
from apmae.common import devices
from apmae.common.errors import ApmaeError, ApmaeWarning
from apmae.study import Study
from apmae.study.config import StudyConfig
from apmae.study.precision import with_precisions
from apmae.target_model import Target

CPU = torch.device("cpu")
AUTO = {"target": {"dtype": "auto", "device": "cpu"}, "encoding": {"precision": "auto"}}


@pytest.fixture
def costs(monkeypatch):
    """Let a product in bfloat16 take so many float32 products."""

    def call(cost):
        monkeypatch.setattr(devices, "product_cost", lambda _type, _precision: cost)
        devices.warn_if_emulated.cache_clear()

    yield call
    devices.warn_if_emulated.cache_clear()


def test_bfloat16_is_native_where_its_products_are_no_slower(costs):
    costs(0.5)
    assert devices.native_precision(CPU) == "bfloat16"
    costs(1.5)
    assert devices.native_precision(CPU) == "float32"


def test_a_processor_without_bfloat16_is_found_out():
    """Some processors have it: PyTorch is told to leave it."""
    code = (
        "import torch; from apmae.common.devices import native_precision as p; print(p(torch.device('cpu')))"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "float32"


def test_every_auto_is_resolved_and_nothing_else(costs):
    costs(0.5)
    config = StudyConfig.model_validate({"name": "a", "training": {"precision": "float32"}})
    found = with_precisions(config, None)
    assert (found.target.dtype, found.training.precision, found.encoding.precision) == (
        "bfloat16",
        "float32",
        "bfloat16",
    )
    assert found.prompts == config.prompts


def test_a_study_that_goes_on_elsewhere_keeps_its_precision_and_its_keys(tmp_path, costs):
    (tmp_path / "A.java").write_text("class A {}\n")
    config = tiny_config(tmp_path / "run", **AUTO)
    costs(0.5)
    begun = Study.create(config)
    assert begun.config.target.dtype == Study.open(begun.directory).config.encoding.precision == "bfloat16"
    costs(75)
    assert Study.of(config).config == Study.create(config).config == begun.config
    elsewhere = Study.of(config.model_copy(update={"directory": tmp_path / "other"}))
    assert elsewhere.config.target.dtype == "float32"
    assert not elsewhere.directory.exists()
    assert _keys(elsewhere) != _keys(begun) == _keys(Study.of(config))
    explicit = tiny_config(tmp_path / "run", **{**AUTO, "target": {"dtype": "float32"}})
    assert Study.create(explicit).config.target.dtype == "float32"


def _keys(study):
    corpus = {"source": "directory", "path": str(study.directory.parent)}
    config = study.config.model_copy(update={"corpus": study.config.corpus.model_validate(corpus)})
    return pipeline.stage_keys(Study(config, study.directory), pipeline.Inputs(config))


def test_status_shows_the_precisions(tmp_path, apmae, costs):
    costs(75)
    (tmp_path / "A.java").write_text("class A {}\n")
    study = tmp_path / "study.yaml"
    study.write_text(
        f"name: shown\ndirectory: {tmp_path}/run\ncorpus: {{source: directory, path: {tmp_path}}}\n"
        "training: {precision: bf16}\n"
    )
    code, out, _ = apmae("status", study)
    assert code == 0
    assert "precision: target float32, training bfloat16, encoding float32" in out


def test_a_precision_that_is_emulated_is_said_once_in_one_line(costs):
    costs(75)
    with pytest.warns(ApmaeWarning, match="bfloat16 is emulated on this device: .* 75 times") as said:
        for _ in range(3):
            autocasting(CPU, "bfloat16")
            Target.load("java-fim-4m", dtype="bfloat16", device="cpu")
    assert len(said) == 1
    assert "\n" not in str(said[0].message)


def test_auto_warns_of_nothing(costs):
    costs(75)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ApmaeWarning)
        assert Target.load("java-fim-4m", device="cpu").dtype == torch.float32
        with autocasting(CPU, "auto")():
            assert not torch.is_autocast_enabled("cpu")


def test_a_device_that_is_not_there_is_one_line():
    with pytest.raises(ApmaeError, match=r"target\.device 'quantum'"):
        Target.load("java-fim-4m", device="quantum")
