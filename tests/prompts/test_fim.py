from pathlib import Path

import pytest
from helpers.tokenizers import TRAPS, byte_level, metaspace, metaspace_vocabulary_and_merges, text_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import CodeLlamaTokenizer, PreTrainedTokenizerFast

from apmae.prompts.documents import Document, Prompt, Skip
from apmae.prompts.fim import FIM_FAMILIES, Side, fim_layout, fim_prompt
from apmae.prompts.formats import PromptFormatter
from apmae.prompts.spans import Span

PAGE = Path(__file__).parents[2] / "docs" / "prompt-formats.md"
PSM = (-1, Side.LEFT, -2, Side.RIGHT, -3)
SUFFIX_FIRST = (-2, Side.RIGHT, -1, Side.LEFT)
LONG = "\n".join([TRAPS] * 12)

# How the families' tokenizers come: what they put first, and whether sentinels are flagged special.
BOS = {"code-llama": "<s>", "deepseek-coder": "<｜begin▁of▁sentence｜>", "codestral": "<s>"}
UNFLAGGED = {"deepseek-coder", "qwen-coder"}
KINDS = {
    "byte-level": byte_level,
    "metaspace": metaspace,
    "metaspace by normalizer": lambda *args, **kwargs: metaspace(*args, by_normalizer=True, **kwargs),
}
TOKENIZERS = {
    (family, kind): build(
        FIM_FAMILIES[family].sentinels, bos=BOS.get(family), special=family not in UNFLAGGED
    )
    for family in FIM_FAMILIES
    for kind, build in KINDS.items()
}
EVERY_FAMILY = pytest.mark.parametrize(
    ("family", "kind"), TOKENIZERS, ids=[f"{family}, {kind}" for family, kind in TOKENIZERS]
)
DOCUMENTS = {
    key: PromptFormatter(tokenizer, "fim", 64).tokenize(LONG) for key, tokenizer in TOKENIZERS.items()
}


def letters(text):
    return [ord(character) for character in text]


@pytest.mark.parametrize(
    ("span", "length", "expected"),
    [
        ((4, 5), 9, [-1, *letters("bcd"), -2, *letters("fgh"), -3]),  # 3 + 3
        ((4, 5), 8, [-1, *letters("cd"), -2, *letters("fgh"), -3]),  # the odd one goes to the right
        ((1, 2), 10, [-1, *letters("a"), -2, *letters("cdefgh"), -3]),  # the left's rest goes to the right
        ((8, 9), 10, [-1, *letters("bcdefgh"), -2, -3]),  # and the other way round
        ((4, 6), 10, [-1, *letters("abcd"), -2, *letters("ghi"), -3]),
        ((4, 6), 11, None),
    ],
)
def test_prefix_first_by_hand(span, length, expected):
    document = Document("abcdefghi", letters("abcdefghi"), range(9), range(1, 10))
    made = fim_prompt(document, Span("identifiers", *span), length, PSM, letters)
    if expected is None:
        assert made == Skip.TOO_FEW_TOKENS
    else:
        assert made == Prompt(tuple(expected), tuple(letters(document.text[slice(*span)])))


def test_the_cut_pieces_of_a_token_are_tokenized_anew():
    document = Document("abcde", [1, 2, 3], [0, 1, 4], [1, 4, 5])  # a bcd e
    made = fim_prompt(document, Span("identifiers", 2, 3), 7, PSM, letters)
    assert made == Prompt((-1, 1, ord("b"), -2, ord("d"), 3, -3), (ord("c"),))


def test_the_tokens_of_the_whole_text_stay_beside_the_hole():
    document = Document("abcde", [1, 2, 3], [0, 2, 3], [2, 3, 5])  # ab c de
    made = fim_prompt(document, Span("identifiers", 2, 3), 5, PSM, letters)
    assert made == Prompt((-1, 1, -2, 3, -3), (ord("c"),))


@pytest.mark.parametrize(
    ("tokens", "span", "expected"),
    [
        (
            ["a", " b", ";"],
            Span("identifiers", 2, 3),
            Prompt((-2, 2, -1, 0), (*letters(" b"),)),
        ),  # goes on after "a"
        (["ab", "c", "d"], Span("identifiers", 1, 3), Skip.STRADDLES_TOKEN),
        (["a", "()", ";"], Span("closing_bracket", 2, 3), Skip.STRADDLES_TOKEN),
        (
            ["a", "bc", "d"],
            Span("identifiers", 1, 2),
            Prompt((-2, ord("c"), -1, 0), (ord("b"),)),
        ),  # c stays right
        ([";", "  ", "\n", "b"], Span("eol", 1, 4), Prompt((-2, 3, -1, 1), (ord("\n"),))),
    ],
)
def test_suffix_first_goes_on_where_the_left_side_ends(tokens, span, expected):
    text, ends = "".join(tokens), [len("".join(tokens[: n + 1])) for n in range(len(tokens))]
    document = Document(text, range(len(tokens)), [0, *ends[:-1]], ends)
    assert fim_prompt(document, span, 4, SUFFIX_FIRST, letters) == expected


@EVERY_FAMILY
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_prompt_is_sentinels_and_the_text_around_the_hole(family, kind, data):
    tokenizer, document = TOKENIZERS[family, kind], DOCUMENTS[family, kind]
    length = data.draw(st.one_of(st.integers(64, 300), st.integers(64, 4096)))
    start = data.draw(st.integers(0, len(LONG) - 1))
    end = data.draw(st.integers(start + 1, min(len(LONG), start + 30)))
    made = PromptFormatter(tokenizer, "fim", length).prompt(document, Span("random", start, end))
    if FIM_FAMILIES[family].layout[-1] is Side.LEFT:
        assume(made != Skip.STRADDLES_TOKEN)
    assert len(made.input_ids) == length

    ids = list(made.input_ids)
    if family in BOS:
        assert ids.pop(0) == tokenizer.bos_token_id
    sides = _sides(ids, FIM_FAMILIES[family].layout, tokenizer)
    left, right = (text_of(tokenizer, sides[side]) for side in Side)
    if left == " " + LONG[: len(left) - 1]:  # the tokenizer's own space before a whole file
        left = left[1:]
    edge = start
    if FIM_FAMILIES[family].layout[-1] is Side.LEFT:  # whitespace may come with the hole's first token
        edge = next(at for at in range(start, -1, -1) if LONG[:at].endswith(left.lstrip("\ufffd")))
        assert not LONG[edge:start].strip()
    # The window's outer edge may cut a character into bytes; nothing else may differ from the source.
    assert LONG[:edge].endswith(left.lstrip("\ufffd"))
    assert LONG[end:].startswith(right.rstrip("\ufffd"))
    assert LONG[edge:end].startswith(text_of(tokenizer, [made.next_token_id]).rstrip("\ufffd"))


def _sides(ids, layout, tokenizer):
    """What stands between the sentinels, each of which occurs once and in its place."""
    names = {name for name in layout if isinstance(name, str)}
    sides, expected = {Side.LEFT: [], Side.RIGHT: []}, list(layout)
    current = None
    for token_id, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        if token in names:
            assert token == expected.pop(0)
            current = expected.pop(0) if expected and isinstance(expected[0], Side) else None
        else:
            sides[current].append(token_id)
    assert not expected
    return sides


SOURCE = "int foo = bar + 1;\nreturn foo;\n"


def _made_of_the_whole_file(tokenizer, start, end, length):
    formatter = PromptFormatter(tokenizer, "fim", length)
    return formatter.prompt(formatter.tokenize(SOURCE), Span("random", start, end))


@pytest.mark.parametrize("kind", ["metaspace", "metaspace by normalizer"])
@pytest.mark.parametrize("hole", ["bar", "foo = ", "1;\n", "+", "return", ";\n"])
def test_a_whole_files_prompt_is_that_of_code_llamas_reference(kind, hole):
    # meta-llama/codellama: infilling_prompt_tokens; a leading smiley keeps the space off the suffix.
    tokenizer = TOKENIZERS["code-llama", kind]
    start = SOURCE.index(hole)
    prefix, suffix, middle = tokenizer.convert_tokens_to_ids(FIM_FAMILIES["code-llama"].sentinels)
    before, after = SOURCE[:start], SOURCE[start + len(hole) :]
    expected = [tokenizer.bos_token_id, prefix, *_plain(tokenizer, before)]
    expected += [suffix, *_without_first_space(tokenizer, after), middle]
    made = _made_of_the_whole_file(tokenizer, start, start + len(hole), len(expected))
    assert made == Prompt(tuple(expected), (_without_first_space(tokenizer, hole)[0],))


@pytest.mark.parametrize("kind", ["metaspace", "metaspace by normalizer"])
@pytest.mark.parametrize("hole", [" bar", " foo =", " 1;\n", " +", "return", ";\n"])
def test_a_whole_files_prompt_is_that_of_codestrals_reference(kind, hole):
    # mistralai/mistral-common: encode_fim.
    tokenizer = TOKENIZERS["codestral", kind]
    start = SOURCE.index(hole)
    suffix, prefix = tokenizer.convert_tokens_to_ids(FIM_FAMILIES["codestral"].sentinels)
    before, after = SOURCE[:start], SOURCE[start + len(hole) :]
    expected = [tokenizer.bos_token_id, suffix, *_without_first_space(tokenizer, after)]
    expected += [prefix, *_plain(tokenizer, before)]
    made = _made_of_the_whole_file(tokenizer, start, start + len(hole), len(expected))
    assert made == Prompt(tuple(expected), (_without_first_space(tokenizer, hole)[0],))


def _plain(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _without_first_space(tokenizer, text):
    smiley = _plain(tokenizer, "☺")
    ids = _plain(tokenizer, "☺" + text)
    assert ids[: len(smiley)] == smiley
    return ids[len(smiley) :]


def test_transformers_code_llama_tokenizer_has_the_familys_layout():
    vocabulary, merges = metaspace_vocabulary_and_merges()
    tokenizer = CodeLlamaTokenizer(vocab=vocabulary, merges=merges)
    layout = fim_layout(tokenizer)
    assert [part for part in layout if not isinstance(part, Side)] == [
        tokenizer.prefix_id,
        tokenizer.suffix_id,
        tokenizer.middle_id,
    ]


@EVERY_FAMILY
def test_the_tokenizers_sentinels_choose_the_family(family, kind):
    tokenizer = TOKENIZERS[family, kind]
    layout = fim_layout(tokenizer)
    names = [part if isinstance(part, Side) else tokenizer.convert_ids_to_tokens(part) for part in layout]
    assert tuple(names) == FIM_FAMILIES[family].layout


def test_a_tokenizer_without_all_sentinels_has_no_layout():
    assert fim_layout(byte_level()) is None
    assert fim_layout(byte_level(["<fim_prefix>", "<fim_suffix>"])) is None


def test_names_in_the_ordinary_vocabulary_are_no_sentinels():
    names = FIM_FAMILIES["starcoder"].sentinels
    words = {word: index for index, word in enumerate(["x", *names])}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="x")))
    assert set(names) <= set(tokenizer.get_vocab())
    assert fim_layout(tokenizer) is None


def test_families_differ_in_their_sentinels():
    layouts = [family.layout for family in FIM_FAMILIES.values()]
    assert len(set(layouts)) == len(layouts)


def test_the_docs_show_every_family():
    rows = [_row(name, family) for name, family in FIM_FAMILIES.items()]
    assert [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")] == rows


def _row(name, family):
    shown = [part.value if isinstance(part, Side) else f"`{part}`" for part in family.layout]
    prefix_first = shown.index("left") < shown.index("right")
    order = "prefix, suffix, middle" if prefix_first else "suffix, prefix, middle"
    return f"| `{name}` | {' '.join(shown).replace('|', chr(92) + '|')} | {order} | {family.models} |"
