import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from apmae.prompts import PromptFormatter
from experiments.toy_models.tokenizer import LEXEME, SPECIAL, pretrained, train_tokenizer

TEXT = "class A {\n    int count = 2048;\n    int total() { return count + 10; }\n}\n" * 20
TOKENIZER = train_tokenizer([TEXT], vocabulary=320)


def test_special_tokens_are_starcoder2s_and_come_first():
    assert [TOKENIZER.token_to_id(name) for name in SPECIAL] == [0, 1, 2, 3, 4]
    assert SPECIAL == ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]


def test_every_digit_is_a_token():
    assert TOKENIZER.encode("2048").tokens == ["2", "0", "4", "8"]


@given(st.sampled_from([TEXT, "a\n\n  b(c);\tx_1 >>= 0x1f; // \u00e9t\u00e9"]), st.data())
def test_a_cut_between_lexemes_changes_no_token(text, data):
    cuts = [match.start() for match in re.finditer(LEXEME, text)]
    cut = data.draw(st.sampled_from(cuts))
    left, right = (TOKENIZER.encode(part).ids for part in (text[:cut], text[cut:]))
    assert left + right == TOKENIZER.encode(text).ids


@given(st.text())
def test_lexemes_are_the_whole_text(text):
    assert "".join(re.findall(LEXEME, text)) == text


@given(st.text())
def test_any_text_comes_back(text):
    ids = TOKENIZER.encode(text.replace("<", "")).ids
    assert TOKENIZER.decode(ids) == text.replace("<", "")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    pretrained(TOKENIZER, 64).save_pretrained(directory)
    return AutoTokenizer.from_pretrained(directory)


def test_transformers_loads_the_same_tokenizer(loaded):
    assert loaded(TEXT)["input_ids"] == TOKENIZER.encode(TEXT).ids
    assert (loaded.eos_token, loaded.pad_token, loaded.model_max_length) == ("<|endoftext|>", "<fim_pad>", 64)


def test_a_study_takes_it_for_fill_in_the_middle(loaded):
    assert PromptFormatter(loaded, "auto", 16).format == "fim"
