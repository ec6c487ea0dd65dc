"""Every benchmark runs at tiny sizes and prints its table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.corpora import write_corpus
from helpers.models import write_target
from helpers.studies import write_study

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

TINY_PROJECTION = """
import sys, torch
sys.path.insert(0, sys.argv.pop(1))
import projection
from apmae.autoencoder import APMAEConfig
from apmae.target_model import Target
from transformers import AutoModelForCausalLM, Starcoder2Config

def tiny(device):
    config = Starcoder2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=0, eos_token_id=0,
    )
    return Target(AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), None, "tiny")

projection.MATRIX_SIDES = (16,)
projection.random_starcoder2 = tiny
projection.APMAEConfig = APMAEConfig.tiny
projection.main()
"""


TINY_AUTOENCODER = """
import importlib, sys
sys.path.insert(0, sys.argv.pop(1))
import plain_apmae
from apmae.autoencoder import APMAEConfig

plain_apmae.DIM = plain_apmae.MLP_DIM = 64
plain_apmae.ENCODER_LAYERS = plain_apmae.DECODER_LAYERS = 1
benchmark = importlib.import_module(sys.argv.pop(1))
benchmark.APMAEConfig = APMAEConfig.tiny
benchmark.main()
"""

TINY_SCORING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import scoring

scoring.STUDY = Path(sys.argv.pop(1))
scoring.PROMPT_TOKENS, scoring.FILE_TOKENS = 20, 200
scoring.main()
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A corpus and a tiny target."""
    root = tmp_path_factory.mktemp("benchmarks")
    write_corpus(root / "corpus", packages=3, files=2)
    write_target(root / "target", root / "corpus")
    return root


def output_of(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_capture(places):
    command = [BENCHMARKS / "capture.py", "--model", places / "target", "--dtype", "float32"]
    printed = output_of(*command, "--prompts", 1, "--rounds", 1)
    for way in ("plain pass as mining runs it", "capture all heads", "reference recipe"):
        assert f"| {way} |" in printed
    assert "Peak memory of a batch" in printed


def test_corpus(places):
    printed = output_of(BENCHMARKS / "corpus.py", "--source", "directory", "--path", places / "corpus")
    assert "| kept | 6 | 100.0% |" in printed


def test_interventions(places):
    printed = output_of(
        BENCHMARKS / "intervention.py", "--model", places / "target", "--prompts", 1, "--rounds", 1
    )
    for way in ("together", "whole passes", "reference"):
        assert f"| {way} |" in printed


@pytest.mark.parametrize("name", ["training", "encoding"])
def test_the_autoencoder(name):
    printed = output_of("-c", TINY_AUTOENCODER, BENCHMARKS, name, "--patterns", 2, "--rounds", 1)
    assert "| plain |" in printed
    assert "| float32 |" in printed


def test_scoring(places, tmp_path):
    write_corpus(tmp_path / "corpus", packages=8, files=3)
    study = write_study(tmp_path / "study.yaml", places / "target", tmp_path / "corpus", tmp_path / "run")
    changed = yaml.safe_load(study.read_text()) | {"tokens": {"context_tokens": 40, "per_window": 32}}
    changed["prompts"]["format"] = "causal"
    study.write_text(yaml.safe_dump(changed))
    printed = output_of("-c", TINY_SCORING, BENCHMARKS, study, "--tokens", 4, "--rounds", 1)
    assert "| watched |" in printed
    assert "| every token scored |" in printed


def test_projection():
    printed = output_of("-c", TINY_PROJECTION, BENCHMARKS, "--patterns", 2, "--prompts", 1, "--rounds", 1)
    assert "| together |" in printed
