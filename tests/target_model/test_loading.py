"""Where a model's name leads."""

import json
import shutil

import pytest
from helpers.models import write_parts
from safetensors.torch import load_file, save_file

from apmae.common.errors import ApmaeError
from apmae.target_model import Target, source


@pytest.mark.parametrize(("name", "n_layers", "n_heads"), [("java-fim-4m", 6, 8), ("java-fim-12m", 8, 12)])
def test_a_toy_model_is_read_from_the_checkout(name, n_layers, n_heads):
    target = Target.load(name, dtype="bfloat16", device="cpu")
    weights = load_file(source.CHECKOUT / "experiments" / "toy_models" / name / "model.safetensors")
    assert (target.name, target.n_layers, target.n_heads) == (name, n_layers, n_heads)
    assert target.model.get_input_embeddings().weight.equal(weights["model.embed_tokens.weight"])


def test_without_a_checkout_a_toy_model_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(source, "CHECKOUT", tmp_path)
    with pytest.raises(ApmaeError) as raised:
        Target.load("java-fim-12m")
    assert "give experiments/toy_models/java-fim-12m" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_packaged_model_is_a_file_or_else_a_hub_repository(monkeypatch, tmp_path):
    alias = source.Packaged("made_up_package", "model.gguf", "owner/name")
    monkeypatch.setitem(source.PACKAGED, "made-up", alias)
    found = source.resolve("made-up")
    assert (found.location, found.gguf_file) == ("owner/name", None)
    assert found.instead_of == "model.gguf of the package made_up_package"

    (tmp_path / "made_up_package").mkdir()
    (tmp_path / "made_up_package" / "__init__.py").touch()
    (tmp_path / "made_up_package" / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    folder = str(tmp_path / "made_up_package")
    assert source.resolve("made-up") == source.Source(folder, "model.gguf")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("loading"))[0]


def renamed(weights):
    return {f"_orig_mod.{name}": value for name, value in weights.items()}


def without_a_layer(weights):
    return {name: value for name, value in weights.items() if ".layers.1." not in name}


def with_a_smaller_head(weights):
    return {**weights, "lm_head.weight": weights["lm_head.weight"][:, :8].contiguous()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed, r"lacks \d+ of .*, such as lm_head\.weight, and has _orig_mod\.lm_head\.weight"),
        (without_a_layer, r"lacks \d+ of .*, such as model\.layers\.1\.\S+$"),
        (with_a_smaller_head, r"lacks 1 of .* in their size, such as lm_head\.weight$"),
    ],
)
def test_a_checkpoint_that_lacks_weights_is_refused(directory, tmp_path, change, said):
    broken = shutil.copytree(directory, tmp_path / "broken")
    weights = change(load_file(directory / "model.safetensors"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ApmaeError, match=said) as raised:
        Target.load(str(broken), dtype="float32", device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        lambda whole: whole[:5_000],
        lambda whole: b"",
    ],
    ids=["a Git-LFS pointer", "truncated", "empty"],
)
def test_a_broken_weights_file_is_refused_in_one_line(directory, tmp_path, content):
    broken = shutil.copytree(directory, tmp_path / "broken")
    file = broken / "model.safetensors"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(ApmaeError, match=r"target\.model '.*broken' cannot be loaded: ") as raised:
        Target.load(str(broken), dtype="float32", device="cpu")
    assert "\n" not in str(raised.value)


def test_a_config_of_another_size_is_refused(directory, tmp_path):
    broken = shutil.copytree(directory, tmp_path / "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(ApmaeError, match=r"lacks \d+ of the model's weights in their size, such as .*mlp"):
        Target.load(str(broken), dtype="float32", device="cpu")


def test_a_tokenizer_larger_than_the_embedding_is_said_where_it_matters(directory):
    target = Target.load(str(directory), dtype="float32", device="cpu")
    size = target.model.config.vocab_size
    assert target.logits([[1, size - 1]]).shape == (1, size)
    with pytest.raises(
        ApmaeError, match=rf"embeds {size:,} tokens, and its tokenizer gave token {size:,}: they"
    ):
        target.logits([[1, size]])
