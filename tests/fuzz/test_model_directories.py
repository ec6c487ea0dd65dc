"""Directories of a target whose files were changed: they load, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random
import shutil

import pytest
from helpers.models import write_parts
from helpers.mutations import refusals

from apmae.target_model import Target

TRIALS = int(os.environ.get("APMAE_FUZZ", "400")) // 20
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("fuzzed"))[0]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_loads_or_is_refused_in_a_line(name, directory, tmp_path):
    generator = random.Random(name)
    place = shutil.copytree(directory, tmp_path / "target")

    def load():
        Target.load(str(place), "float32", "cpu")

    assert refusals(place / name, TRIALS, generator, load) > TRIALS / 4
