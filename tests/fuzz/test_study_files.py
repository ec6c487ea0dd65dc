"""Study files and overrides of every kind of nonsense: a config, or one short line.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import os
import random
import string
import time
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.study.config import StudyConfig
from apmae.study.study_file import load_config

TRIALS = int(os.environ.get("APMAE_FUZZ", "400"))
LONGEST = 300
STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
SCALARS = (
    *("!!int zz", "!!timestamp 2026-99-99", "2026-99-99", '"\\U00110000"', "1" * 4_300, "-" + "9" * 5_000),
    *(
        "1e999",
        ".inf",
        ".nan",
        "0x1F",
        "0b2",
        "1_000",
        "010",
        "yes",
        "~",
        "null",
        "''",
        '"\\0"',
        "[",
        "{",
        "}",
    ),
    *("- -", "? a", "&a [*a]", "&a b", "*a", "<<: {a: b}", "!!python/object:os.system ls", "!!binary x"),
    *(
        "!!set {a}",
        "@",
        "`",
        "[" * 3_000,
        "{a: " * 2_000,
        "- " * 1_500,
        "\u202e",
        "\ufeff",
        "a: b: c",
        "|",
        ">",
    ),
    *("%YAML 9", "x" * 100_000),
)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def mutated(source: str, generator: random.Random) -> str:
    """A study file with a few changes that a person, an editor or a bad disk might make."""
    lines = source.splitlines()
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(lines))
        match generator.randrange(8):
            case 0:
                key = lines[place].partition(":")[0]
                lines[place] = f"{key}: {generator.choice(SCALARS)}"
            case 1:
                lines.insert(place, generator.choice(SCALARS))
            case 2:
                lines.insert(place, lines[generator.randrange(len(lines))])
            case 3:
                lines[place] = lines[place].replace("  ", generator.choice(["\t", " ", "   ", "\u00a0"]))
            case 4:
                at = generator.randint(0, len(lines[place]))
                lines[place] = lines[place][:at] + generator.choice(string.printable) + lines[place][at:]
            case 5:
                lines[place] = lines[place][: generator.randint(0, len(lines[place]))]
            case 6:
                lines[place] = lines[place].swapcase()
            case _:
                lines = lines[: place + 1]
    return "\n".join(lines)


def refused(path: Path, overrides: list[str]) -> str | None:
    """What is said of a file; None where it is a config."""
    try:
        config = load_config(path, overrides)
    except ApmaeError as error:
        said = str(error).removeprefix(str(path))
        assert "\n" not in said
        assert len(said) <= LONGEST, said
        return said
    assert isinstance(config, StudyConfig)
    return None


def test_a_mutated_file_is_a_config_or_one_line(tmp_path):
    generator = random.Random(0)
    sources = [path.read_text() for path in STUDIES]
    path, said = tmp_path / "study.yaml", 0
    for _ in range(TRIALS):
        path.write_bytes(mutated(generator.choice(sources), generator).encode("utf-8", "surrogatepass"))
        began = time.process_time()
        said += refused(path, []) is not None
        assert time.process_time() - began < 2
    assert TRIALS * 0.4 < said < TRIALS


def test_a_file_of_any_bytes_is_one_line(tmp_path):
    generator = random.Random(1)
    path = tmp_path / "study.yaml"
    for _ in range(TRIALS // 4):
        path.write_bytes(generator.randbytes(generator.randint(0, 200)))
        assert refused(path, []) is not None


def test_an_override_is_taken_or_refused_in_one_line():
    generator = random.Random(2)
    keys = [
        f"{section}.{key}"
        for section in ("target", "corpus", "prompts", "training")
        for key in ("model", "x", "")
    ]
    for _ in range(TRIALS):
        key = generator.choice(
            [*keys, "seed", "name", "", ".", "a.b.c", "seed.x", "training", "\n", "x" * 5_000]
        )
        value = generator.choice(["=", ""]) + generator.choice(SCALARS)
        refused(STUDIES[0], [f"{key}{value}"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("training: {steps: 5}\ntraining: {batch_size: 8}", "line 3: training is there twice"),
        (BOMB, r"line 3: aliases \(\*\) have no meaning in a study file"),
        ("seed: !!int zz", "line 2: the tag .*int has no meaning here"),
        ("seed: yes", "seed: .*valid integer"),
        ("seed: " + "9" * 4_300, "seed: "),
        ("a: " + "[" * 3_000, "it is nested too deeply"),
        ("training:", "training is a section: write its keys below it"),
        ("target: smollm2-135m", "target is a section"),
        ("? [a]\n: b", "line 2: a key is not a word"),
        ("# " + "x" * (1 << 20), "it has more than a mebibyte"),
    ],
)
def test_what_is_said(tmp_path, content, said):
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\n{content}\n")
    with pytest.raises(ApmaeError, match=said):
        load_config(path)
    assert refused(path, [])


def test_octal_looking_numbers_are_decimal_and_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "study.yaml"
    path.write_text(
        "\ufeffname: x\ndirectory: ~/runs\nprompts: {per_task: 010}\nencoder: {pretrained: ~/enc}\n"
    )
    config = load_config(path)
    assert config.prompts.per_task == 10
    assert config.directory == tmp_path / "runs"
    assert config.encoder.pretrained == str(tmp_path / "enc")
