"""Directories of an encoder whose files were changed: they load, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random

import pytest
from helpers.mutations import refusals

from apmae.autoencoder import APMAEConfig, APMAEModel
from apmae.autoencoder.pretrained import check_pretrained
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

    def load():
        check_pretrained(study)
        APMAEModel.from_pretrained(str(place))

    assert refusals(place / name, TRIALS, generator, load) > TRIALS / 4
