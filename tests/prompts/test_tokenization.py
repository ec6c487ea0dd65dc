from itertools import pairwise

import pytest
from helpers.tokenizers import TRAPS, byte_level, metaspace, text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from apmae.prompts.fim import FIM_FAMILIES, SENTINELS
from apmae.prompts.tokenization import TextTokenizer, leading_ids, plain_ids

KINDS = {
    "byte-level": byte_level(),
    "byte-level after a space": byte_level(prefix_space=True),
    "metaspace": metaspace(),
    "metaspace by normalizer": metaspace(by_normalizer=True),
}
OTHERS = pytest.mark.parametrize("tokenizer", KINDS.values(), ids=KINDS)
TEXTS = st.text(st.sampled_from('ab (){};=\n\t\r"é😀'), max_size=30)


@OTHERS
@settings(deadline=None)
@given(text=TEXTS)
def test_a_piece_is_its_own_text_and_no_space_more(tokenizer, text):
    assert text_of(tokenizer, TextTokenizer(tokenizer).piece(text)) == text


@OTHERS
def test_a_whole_text_has_the_tokenizers_own_tokens(tokenizer):
    document = TextTokenizer(tokenizer).document(TRAPS)
    assert document.token_ids == tokenizer(TRAPS, add_special_tokens=False)["input_ids"]


@OTHERS
@settings(deadline=None)
@given(text=TEXTS)
def test_positions_cover_the_text_in_order(tokenizer, text):
    document = TextTokenizer(tokenizer).document(text)
    covered = set()
    for start, end in zip(document.starts, document.ends, strict=True):
        covered.update(range(start, end))
    assert covered == set(range(len(text)))
    for positions in (document.starts, document.ends):
        assert all(first <= second for first, second in pairwise(positions))


@pytest.mark.parametrize("by_normalizer", [False, True])
@pytest.mark.parametrize(
    ("text", "tokens", "starts", "ends"),
    [
        ("for", ["▁f", "or"], [0, 1], [1, 3]),
        ("package", ["▁", "pack", "ag", "e"], [0, 0, 4, 6], [0, 4, 6, 7]),
        ("\té", ["▁", "\t", "<0xC3>", "<0xA9>"], [0, 0, 1, 1], [1, 1, 2, 2]),
    ],
)
def test_the_space_before_a_text_covers_none_of_it_alone(by_normalizer, text, tokens, starts, ends):
    tokenizer = metaspace(by_normalizer=by_normalizer)
    document = TextTokenizer(tokenizer).document(text)
    assert tokenizer.convert_ids_to_tokens(document.token_ids) == tokens
    assert (list(document.starts), list(document.ends)) == (starts, ends)


def test_an_empty_text_has_no_tokens():
    assert TextTokenizer(byte_level()).document("").token_ids == []


@pytest.mark.parametrize("build", [byte_level, metaspace])
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("family", FIM_FAMILIES)
def test_names_of_sentinels_in_a_source_stay_text(build, special, family):
    sentinels = FIM_FAMILIES[family].sentinels
    source = "a" + "b".join(sentinels) + "c"
    tokenizer = build(sentinels, special=special)
    text = TextTokenizer(tokenizer)
    for ids in (text.document(source).token_ids, text.piece(source)):
        assert not set(ids) & set(tokenizer.convert_tokens_to_ids(sentinels))
        assert text_of(tokenizer, ids).replace("▁", " ").strip() == source.replace("▁", " ")


def test_other_added_tokens_are_text():
    indented = byte_level(["        "], special=False)  # runs of whitespace, as of GPT-NeoX
    assert TextTokenizer(indented).piece("        ") == indented.convert_tokens_to_ids(["        "])


def test_plain_ids_leave_out_special_tokens_and_sentinels():
    sentinels = FIM_FAMILIES["qwen-coder"].sentinels
    tokenizer = byte_level([*sentinels, "<tool>"], bos="<s>", special=False)
    left_out = {tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(sentinels)}
    assert plain_ids(tokenizer) == sorted(set(range(len(tokenizer))) - left_out)
    assert set(sentinels) <= SENTINELS


@pytest.mark.parametrize("build", [byte_level, metaspace])
def test_leading_ids_are_the_tokenizers_own(build):
    with_bos = build(bos="<s>")
    assert leading_ids(with_bos) == [with_bos.bos_token_id]
    assert leading_ids(build()) == []
