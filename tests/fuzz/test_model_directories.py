"""Directories of a target whose files were changed: they load, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random
import shutil

import pytest
from helpers.models import write_parts
from helpers.mutations import changed_bytes, changed_json

from apmae.common.errors import ApmaeError
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
    whole = (place / name).read_bytes()
    refused = 0
    for number in range(TRIALS):
        by_value = name.endswith(".json") and number % 2 == 0
        (place / name).write_bytes((changed_json if by_value else changed_bytes)(whole, generator))
        try:
            Target.load(str(place), "float32", "cpu")
        except ApmaeError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) - len(str(place)) <= 300, error
    assert refused > TRIALS / 4
