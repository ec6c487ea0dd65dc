"""Prompts of holes: the file's own tokens before the hole, in words."""

import pytest
from helpers.tokenizers import byte_level_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from apmae.common.errors import ApmaeError
from apmae.figures.labels import label
from apmae.prompts.tokenization import token_texts
from apmae.viewer import hole_prompt, read_hole

SOURCE = "class A {\n    int total = 1;\n    int count = total + 10;\n}\n" * 6
TOKENIZER = byte_level_tokenizer(SOURCE)


@pytest.fixture
def at(tmp_path):
    """The prompt of a place in `SOURCE`."""
    path = tmp_path / "A.java"
    path.write_text(SOURCE)

    def prompt(place, length_tokens=16, requested="auto", tokenizer=TOKENIZER):
        return hole_prompt(read_hole(f"{path}:{place}"), tokenizer, requested, length_tokens)

    return prompt


def test_a_causal_prompt_ends_where_the_hole_starts(at):
    prompt = at("7:17")
    assert prompt.hole.text == "total + 10;"
    assert (prompt.format, len(prompt.input_ids)) == ("causal", 16)
    before = SOURCE[: prompt.hole.span.start].rstrip(" ")
    assert before.endswith("int count =")
    assert before.endswith("".join(prompt.tokens))
    assert TOKENIZER.decode(prompt.true_ids) == " total + 10;"


def test_of_a_hole_too_long_to_be_written_the_first_token_counts(tmp_path):
    path = tmp_path / "A.java"
    path.write_text("int a = 1;\n" + " ".join(f"int total{number};" for number in range(40)) + "\n")
    prompt = hole_prompt(read_hole(f"{path}:2:1"), TOKENIZER, "auto", 16)
    assert len(prompt.true_ids) == 1


def test_a_prompt_is_shorter_where_the_file_has_less_text(at):
    prompt = at("2", length_tokens=64)
    assert "".join(prompt.tokens) == SOURCE[: len("class A {\n   ")]
    assert len(prompt.input_ids) < 64


def test_fill_in_the_middle(at):
    tokenizer = byte_level_tokenizer(SOURCE)
    tokenizer.add_tokens(["<fim_prefix>", "<fim_suffix>", "<fim_middle>"], special_tokens=True)
    prompt = at("7:17", 24, tokenizer=tokenizer)
    assert (prompt.format, len(prompt.input_ids)) == ("fim", 24)
    assert prompt.tokens[0] == "<fim_prefix>"
    assert prompt.tokens[-1] == "<fim_middle>"
    assert tokenizer.decode(prompt.true_ids) == "total + 10;"
    short = at("7:17", 4_096, tokenizer=tokenizer)
    assert SOURCE[: prompt.hole.span.start].endswith(
        "".join(short.tokens[1 : short.tokens.index("<fim_suffix>")])
    )
    assert len(short.input_ids) < 4_096


def test_a_hole_within_a_token_names_the_nearest_start(at):
    with pytest.raises(
        ApmaeError, match=r"A.java:2:11 is within a token; the nearest one starts at column 9$"
    ):
        at("2:11")
    with pytest.raises(ApmaeError, match=r"A.java:2:13 .* column 15$"):
        at("2:13")
    at("2:9")
    at("2:15")


def test_no_token_before_the_hole(at):
    with pytest.raises(ApmaeError, match=r"A.java:1: no token stands before the hole"):
        at("1")


def test_a_format_that_the_tokenizer_does_not_do(at):
    with pytest.raises(ApmaeError, match="no sentinels"):
        at("2", requested="fim")


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(lambda text: "\ufffd" not in text)
)
def test_the_tokens_together_are_the_text(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    texts = token_texts(TOKENIZER, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == text


def test_a_character_of_several_tokens_stands_at_the_first():
    ids = TOKENIZER("int é中𝕏;", add_special_tokens=False)["input_ids"]
    assert token_texts(TOKENIZER, ids) == ("int", " ", "é", "", "中", "", "", "𝕏", "", "", "", ";")


def test_bytes_that_are_no_character_stand_alone():
    ids = TOKENIZER("中", add_special_tokens=False)["input_ids"]
    assert token_texts(TOKENIZER, ids[:2]) == ("\ufffd", "\ufffd")


def test_the_space_that_a_token_starts_with_is_kept():
    tokenizer = Tokenizer(models.WordLevel({"▁int": 0, "▁x": 1, "▁a": 2}, unk_token="▁x"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert fast.decode([2]) == "a"
    assert token_texts(fast, [0, 2]) == (" int", " a")


LABELS = {
    " foo": "·foo",
    "\n        ": "↵········",
    "\r\n\t": "↵⇥",
    "": "⋯",
    "\x1b[0m": "\\x1b[0m",
    "\u202e": "\\x202e",
    "ConcurrentModification": "ConcurrentMod…",
}


@pytest.mark.parametrize(("text", "expected"), LABELS.items())
def test_labels_are_one_visible_line(text, expected):
    assert label(text) == expected
