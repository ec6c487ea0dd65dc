"""Directories of a target whose files were changed: they load, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import json
import os
import random
import shutil

import pytest
from helpers.models import write_parts

from apmae.common.errors import ApmaeError
from apmae.target_model import Target

TRIALS = int(os.environ.get("APMAE_FUZZ", "400")) // 20
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
VALUES = (None, True, -1, 0, 1, 3, 0.5, 70_000, "", "x", "../x", "\ud800", [], [1], {}, {"a": None})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("fuzzed"))[0]


def changed_json(data, generator):
    """A value somewhere replaced, or a key gone."""
    content = json.loads(data)
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = generator.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and generator.random() < 0.7:
            place = place[key]
            continue
        if generator.random() < 0.3:
            del place[key]
        else:
            place[key] = generator.choice(VALUES)
        return json.dumps(content).encode()


def changed_bytes(data, generator):
    """Cut off, a few bytes of its first part replaced, or all of it something else."""
    way = generator.randrange(3)
    if way == 0:
        return data[: generator.randrange(len(data))]
    if way == 1:
        start = generator.randrange(min(len(data), 400))
        return data[:start] + generator.randbytes(generator.randrange(1, 9)) + data[start + 8 :]
    return generator.choice((b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe", b"null", b"version https://git-lfs"))


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
