"""A tokenizer whose class builds it otherwise than its file says: the file is what counts."""

import json
import warnings

import pytest
from helpers.tokenizers import byte_level, metaspace
from tokenizers import Tokenizer

from apmae.common.errors import ApmaeError, ApmaeWarning
from apmae.target_model.source import Source
from apmae.target_model.tokenizer import PROBE, load_tokenizer

KINDS = {"byte-level": lambda: byte_level(bos="<s>"), "metaspace": lambda: metaspace(bos="<s>")}
CLASSES = (
    "PreTrainedTokenizerFast",
    "GPT2Tokenizer",
    "LlamaTokenizer",
    "CodeLlamaTokenizer",
    "Qwen2Tokenizer",
    "GemmaTokenizer",
    "CohereTokenizer",
)


def written(directory, tokenizer, class_name):
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": class_name, "bos_token": "<s>", "eos_token": "<s>", "unk_token": "<s>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return Source(str(directory))


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize("kind", KINDS)
def test_text_is_split_as_the_file_says_whatever_the_class(kind, class_name, tmp_path):
    source = written(tmp_path, KINDS[kind](), class_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ApmaeWarning)
        tokenizer = load_tokenizer(source, trust_remote_code=False)
    expected = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(PROBE, add_special_tokens=False)
    assert tokenizer(PROBE, add_special_tokens=False)["input_ids"] == expected.ids
    assert tokenizer.bos_token == "<s>"


def test_another_split_is_told(tmp_path):
    source = written(tmp_path, byte_level(), "Qwen2Tokenizer")
    with pytest.warns(ApmaeWarning, match=r"Qwen2Tokenizer splits text otherwise than tokenizer\.json does"):
        load_tokenizer(source, trust_remote_code=False)


def test_the_same_split_is_not(tmp_path, recwarn):
    load_tokenizer(written(tmp_path, byte_level(), "PreTrainedTokenizerFast"), trust_remote_code=False)
    assert not [warning for warning in recwarn if warning.category is ApmaeWarning]


def test_a_file_that_transformers_reads_otherwise_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("apmae.target_model.tokenizer._splits_like", lambda tokenizer, file: False)
    with pytest.raises(ApmaeError, match="Transformers splits text otherwise"):
        load_tokenizer(written(tmp_path, byte_level(), "Qwen2Tokenizer"), trust_remote_code=False)
