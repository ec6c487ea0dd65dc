"""The whole command in miniature: shared stages, its tables, and a second run that does nothing."""

import pytest
import yaml
import zarr
from helpers.corpora import write_corpus
from helpers.models import write_target
from helpers.studies import write_study

from apmae.common.progress import silent
from apmae.study import Study
from apmae.study.study_file import load_config
from apmae.target_model import Target
from experiments.encoder_variants import __main__ as command
from experiments.encoder_variants import page, stages

VARIANTS = [
    {"name": "base", "about": "as it is", "changes": ["encoding.readouts=[cls, row, mean]"]},
    {"name": "plain", "about": "patches only", "changes": ["encoder.row_tokens=false"]},
    {"name": "fine", "about": "small patches", "changes": ["encoder.patch_size=8"]},
    {"name": "twin", "about": "trained as the first one", "changes": ["encoding.precision=bfloat16"]},
]
OVERRIDES = ["prompts.tasks=[eol, identifiers]", "training.steps=4", "prediction.iterations=5"]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablations")
    write_corpus(root / "corpus")
    write_target(root / "target", root / "corpus")
    (root / "variants.yaml").write_text(yaml.safe_dump(VARIANTS))
    (root / "page.md").write_text(f"# Page\n{page.BEGIN}\n{page.END}\n")
    study = write_study(root / "study.yaml", root / "target", root / "corpus", root / "runs")
    return {
        "study": study,
        "variants": root / "variants.yaml",
        "change": OVERRIDES,
        "reconstruction_prompts": 2,
        "put_into": root / "page.md",
    }


@pytest.fixture(scope="module")
def finished(arguments):
    command.main(**arguments)
    root = load_config(arguments["study"]).study_directory
    return {variant["name"]: Study.open(root / variant["name"]) for variant in VARIANTS}


def test_prompts_are_mined_once_and_equal_encoders_trained_once(finished):
    base, plain, fine, twin = finished.values()
    assert all(study.prompts.equals(base.prompts) for study in (plain, fine, twin))
    weights = [study.path("encoder/model.safetensors").read_bytes() for study in (base, twin, plain)]
    assert weights[0] == weights[1] != weights[2]
    assert twin.marker("train") == base.marker("train") != plain.marker("train")


def test_every_variant_has_its_tables(finished, arguments):
    lines = arguments["put_into"].read_text().splitlines()
    headings = [line for line in lines if line.startswith("### ")]
    assert len(headings) == 8
    for variant in VARIANTS:
        assert sum(line.startswith(f"| `{variant['name']}` |") for line in lines) >= 7
    assert any(line.startswith("| `row_statistics` | ") for line in lines)
    tables = finished["base"].directory.parent / "tables.md"
    assert tables.read_text().splitlines()[0] == headings[0]


def test_a_second_run_does_nothing_and_says_the_same(finished, arguments, monkeypatch):
    before = arguments["put_into"].read_text()
    monkeypatch.setattr(Target, "from_config", None)
    command.main(**arguments)
    assert arguments["put_into"].read_text() == before


def test_an_interrupted_encoding_is_taken_up(finished, monkeypatch):
    """Only shards that are missing are encoded, for both studies at once."""
    studies = [finished["base"], finished["plain"]]
    expected = {study: study.encodings["cls"][:] for study in studies}
    for study in studies:
        study.unmark("encode")
        zarr.open_group(study.path("encodings.zarr"), mode="r+")["written"][1:] = 0
    captured, run = [], Target.capture_patches
    monkeypatch.setattr(
        Target, "capture_patches", lambda self, ids, *rest: captured.extend(ids) or run(self, ids, *rest)
    )
    stages.encode(studies, silent, lambda line: None)
    assert len(captured) == studies[0].study_prompts.height - studies[0].config.encoding.shard_prompts
    for study, values in expected.items():
        assert (study.encodings["cls"][:] == values).all()
        assert study.marker("encode")
