"""The list of variants: what becomes of it, and that the shipped one is valid."""

from pathlib import Path

import pytest
import yaml

from apmae.common.errors import ApmaeError
from experiments.encoder_variants.variants import load_variants

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "studies" / "encoder-variants.yaml"
FILE = ROOT / "experiments" / "encoder_variants" / "variants.yaml"


def write(path, *rows):
    path.write_text(
        yaml.safe_dump([dict(zip(("name", "about", "changes"), row, strict=True)) for row in rows])
    )
    return path


def test_a_variant_is_the_base_with_its_changes(tmp_path):
    file = write(tmp_path / "v.yaml", ("a", "as it is", []), ("b", "finer", ["encoder.row_token_size=4"]))
    overrides = ["prompts.per_task=8", f"directory={tmp_path / 'runs'}"]
    a, b = load_variants(BASE, file, overrides)
    assert (a.name, b.about) == ("a", "finer")
    assert [variant.config.study_directory for variant in (a, b)] == [
        tmp_path / "runs" / "a",
        tmp_path / "runs" / "b",
    ]
    assert b.config.prompts == a.config.prompts
    assert b.config.prompts.per_task == 8
    assert b.config.encoder == a.config.encoder.model_copy(update={"row_token_size": 4})


def test_the_shipped_variants_change_what_they_are_called_after():
    variants = {variant.name: variant.config for variant in load_variants(BASE, FILE)}
    base = variants.pop("base")
    assert variants["unscaled"].encoder.scaling == "probability"
    assert variants["combined"].encoder.row_token_size == 8
    for name, config in variants.items():
        assert (config.encoder, config.training) != (base.encoder, base.training), name
        assert config.prompts == base.prompts


def test_some_variants_alone():
    names = [variant.name for variant in load_variants(BASE, FILE, only=["paper", "base"])]
    assert names == ["base", "paper"]
    with pytest.raises(ApmaeError, match="has no variant papper"):
        load_variants(BASE, FILE, only=["base", "papper"])


def test_bad_lists(tmp_path):
    with pytest.raises(ApmaeError, match="a name of its own"):
        load_variants(BASE, write(tmp_path / "twins.yaml", ("a", "", []), ("a", "", [])))
    with pytest.raises(ApmaeError, match="a name of its own"):
        load_variants(BASE, write(tmp_path / "none.yaml"))
    with pytest.raises(ApmaeError, match="not a list of variants"):
        load_variants(BASE, write(tmp_path / "odd.yaml", ("a", "", {"encoder.patch_size": 16})))
    with pytest.raises(ApmaeError, match="not a list of variants"):
        load_variants(BASE, tmp_path / "missing.yaml")
    with pytest.raises(ApmaeError, match=r"unknown key encoder\.size_of_patches"):
        load_variants(BASE, write(tmp_path / "key.yaml", ("a", "", ["encoder.size_of_patches=16"])))
