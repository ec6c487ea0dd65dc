"""Where a model's name leads."""

import pytest
from safetensors.torch import load_file

from apmae.common.errors import ApmaeError
from apmae.target_model import Target, loading


@pytest.mark.parametrize(("name", "n_layers", "n_heads"), [("java-fim-4m", 6, 8), ("java-fim-12m", 8, 12)])
def test_a_toy_model_is_read_from_the_checkout(name, n_layers, n_heads):
    target = Target.load(name, dtype="bfloat16", device="cpu")
    weights = load_file(loading.CHECKOUT / "experiments" / "toy_models" / name / "model.safetensors")
    assert (target.name, target.n_layers, target.n_heads) == (name, n_layers, n_heads)
    assert target.model.get_input_embeddings().weight.equal(weights["model.embed_tokens.weight"])


def test_without_a_checkout_a_toy_model_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "CHECKOUT", tmp_path)
    with pytest.raises(ApmaeError) as raised:
        Target.load("java-fim-12m")
    assert "give experiments/toy_models/java-fim-12m" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_packaged_model_is_a_file_or_else_a_hub_repository(monkeypatch, tmp_path):
    alias = loading.Packaged("made_up_package", "model.gguf", "owner/name")
    monkeypatch.setitem(loading.PACKAGED, "made-up", alias)
    found = loading.resolve("made-up")
    assert (found.location, found.gguf_file) == ("owner/name", None)
    assert found.instead_of == "model.gguf of the package made_up_package"

    (tmp_path / "made_up_package").mkdir()
    (tmp_path / "made_up_package" / "__init__.py").touch()
    (tmp_path / "made_up_package" / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    folder = str(tmp_path / "made_up_package")
    assert loading.resolve("made-up") == loading.Source(folder, "model.gguf")
