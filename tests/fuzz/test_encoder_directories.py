"""Directories of an encoder whose files were changed: they load, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random

import pytest
from helpers.mutations import changed_bytes, changed_json

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.pretrained import check_pretrained
from apmae.common.errors import ApmaeError
from apmae.study.config import StudyConfig

TRIALS = int(os.environ.get("APMAE_FUZZ", "400")) // 4


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_file_loads_or_is_refused_in_a_line(name, tmp_path):
    generator = random.Random(name)
    place = tmp_path / "encoder"
    APMAEModel(APMAEConfig.tiny(pattern_size=32, patch_size=8)).save_pretrained(place)
    study = StudyConfig.model_validate(
        {"name": "x", "encoder": {"pretrained": str(place)}, "prompts": {"length_tokens": 32}}
    )
    whole = (place / name).read_bytes()
    refused = 0
    for number in range(TRIALS):
        by_value = name.endswith(".json") and number % 2 == 0
        (place / name).write_bytes((changed_json if by_value else changed_bytes)(whole, generator))
        try:
            check_pretrained(study)
            APMAEModel.from_pretrained(str(place))
        except ApmaeError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) - len(str(place)) <= 300, error
    assert refused > TRIALS / 4
