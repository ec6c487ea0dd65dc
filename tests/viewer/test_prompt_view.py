"""What is seen of a prompt is what the target says of it."""

from pathlib import Path

import pytest
import torch
from helpers.tokenizers import byte_level_tokenizer

from apmae.common.errors import ApmaeError
from apmae.prompts import Span
from apmae.prompts.tokenization import token_texts
from apmae.viewer import Hole, HolePrompt, standout_heads, view_prompt

TOKENIZER = byte_level_tokenizer("int total = count;\n" * 9)


@pytest.fixture
def target(llama):
    llama.tokenizer = TOKENIZER
    return llama


def prompt_of(ids, *true_ids):
    hole = Hole(Path("A.java"), 1, 1, "x", Span("line", 0, 1))
    return HolePrompt(hole, "causal", tuple(ids), true_ids, ("t",) * len(ids))


def test_outcome_and_attention_are_the_targets(target):
    ids = list(range(40, 60))
    seen = view_prompt(target, prompt_of(ids, 7))
    probabilities = target.logits([ids])[0].softmax(-1)
    order = probabilities.argsort(descending=True)[:5].tolist()
    assert [candidate.token_id for candidate in seen.candidates] == order
    assert [candidate.probability for candidate in seen.candidates] == pytest.approx(
        probabilities[order].tolist()
    )
    assert seen.candidates[0].text == TOKENIZER.decode(order[:1])
    assert seen.truth.probability == pytest.approx(float(probabilities[7]))
    assert seen.entropy_nats == pytest.approx(float(-(probabilities * probabilities.log()).sum()), rel=1e-5)
    assert not seen.correct
    assert view_prompt(target, prompt_of(ids, order[0])).correct
    expected = target.run([ids], scaling="probability").patterns[0]
    torch.testing.assert_close(seen.log_probs.exp(), expected)


def test_what_it_writes_is_its_own_greedy_decoding(target):
    ids, own = list(range(40, 60)), []
    for _ in range(4):
        own.append(int(target.logits([ids + own])[0].argmax()))
    seen = view_prompt(target, prompt_of(ids, *own))
    assert (seen.written, seen.writes_hole) == ("".join(token_texts(TOKENIZER, own)), True)
    other = view_prompt(target, prompt_of(ids, *own[:3], own[3] + 1))
    assert (other.correct, other.writes_hole, other.written) == (True, False, seen.written)


def test_no_more_is_written_than_the_target_reads(target, monkeypatch):
    monkeypatch.setattr(type(target), "max_tokens", 21)
    ids = list(range(40, 60))
    assert len(target.greedy([ids], 2)[0]) == 2
    own = target.greedy([ids], 2)[0].tolist()
    assert view_prompt(target, prompt_of(ids, *own, 7, 7)).writes_hole


def test_more_than_a_page_can_hold_is_refused(target, monkeypatch):
    monkeypatch.setattr("apmae.viewer.prompt_view.MOST_VALUES", 12 * 230)  # 21 tokens have 231 weights
    view_prompt(target, prompt_of(range(20), 7))
    with pytest.raises(ApmaeError, match=r"12 heads on 21 tokens are too much .* --length-tokens 20 or less"):
        view_prompt(target, prompt_of(range(21), 7))


def test_standout_heads_stand_out_by_their_last_token():
    tokens = 20
    attention = torch.ones(2, 3, tokens, tokens).tril()
    attention[0, 1, :, 0] = 1e3  # everything looks at the first token
    attention[0, 2, 5:, 5] = 1e3  # everything looks at token 5
    attention[1, 0, -1, -2] = 1e3  # the last token looks at the one before it
    attention[1, 1, -1, 4] = 1e3  # the last token, alone, looks at token 4
    attention[1, 2, -1, 4] = 5
    log_probs = (attention / attention.sum(-1, keepdim=True)).log()
    assert standout_heads(log_probs, 2) == [(1, 1), (1, 2)]
    assert len(standout_heads(log_probs, 99)) == 6


def test_standout_heads_of_a_prompt_shorter_than_what_is_near():
    assert standout_heads(torch.zeros(1, 2, 1, 1), 1) == [(0, 0)]


@pytest.mark.parametrize(
    ("truth", "expected"), [(" foo", " foo();"), ("foo", "foo();"), ("   ", "   foo();"), ("", "foo();")]
)
def test_the_hole_follows_the_blanks_of_its_first_token(made_up_view, truth, expected):
    from dataclasses import replace

    hole = replace(made_up_view.prompt.hole, source="foo();", span=Span("line", 0, 6))
    seen = replace(
        made_up_view,
        truth=made_up_view.truth._replace(text=truth),
        prompt=replace(made_up_view.prompt, hole=hole),
    )
    assert seen.continuation == expected
