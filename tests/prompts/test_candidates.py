"""Candidates are the prompts that the formatter makes, and a survey sees what one long pass says."""

import pytest
from helpers.corpora import written_files
from helpers.models import tiny_llama
from helpers.tokenizers import byte_level_tokenizer

from apmae.corpus import SourceFile
from apmae.prompts import PromptFormatter, Skip, find_spans
from apmae.prompts.candidates import HOLES_PER_WINDOW, CandidateMaker, Quota
from apmae.prompts.journal import TargetAnswers
from apmae.target_model import Target

NAME, TEXT = next(written_files(methods=60))
FILE = SourceFile(NAME, "p0", TEXT)
TOKENIZER = byte_level_tokenizer(TEXT)
QUOTAS = [Quota("study", task) for task in ("eol", "identifiers", "random")]


@pytest.fixture(scope="module")
def made():
    formatter = PromptFormatter(TOKENIZER, "causal", 64)
    return CandidateMaker(formatter, "java", 0, 4, window_tokens=256).of_file(FILE, QUOTAS)


def test_causal_candidates_are_the_formatters_prompts(made):
    formatter = PromptFormatter(TOKENIZER, "causal", 64)
    document = formatter.tokenize(TEXT)
    spans = find_spans(TEXT, "java", ["eol", "identifiers"])
    expected = {}
    for task, holes in spans.items():
        prompts = [formatter.prompt(document, span) for span in holes]
        expected[task] = {prompt for prompt in prompts if not isinstance(prompt, Skip)}
    for quota in QUOTAS[:2]:
        found = [(tuple(each.input_ids), tuple(each.true_ids)) for each in made.by_quota[quota]]
        assert len(found) == len(set(found)) > 10
        assert set(found) <= expected[quota.task]


def test_candidates_lie_in_one_window_and_are_sorted_by_their_keys(made):
    assert len(made.window.input_ids) == 256
    text = TOKENIZER(TEXT)["input_ids"]
    places = [text[start : start + 256] for start in range(len(text) - 255)]
    assert made.window.input_ids in places
    for candidates in made.by_quota.values():
        assert 4 < len(candidates) <= HOLES_PER_WINDOW
        keys = [each.key for each in candidates]
        assert keys == sorted(keys)
        assert 0 <= keys[0] < keys[-1] < 1


def test_a_window_shows_the_probability_of_every_true_token(made, tmp_path):
    target = Target(tiny_llama(), TOKENIZER, "tiny")
    candidates = made.by_quota[QUOTAS[0]]
    seen = TargetAnswers(target, tmp_path).seen_in_window(made.window, candidates)
    for candidate, probability in zip(candidates, seen, strict=True):
        prefix = made.window.input_ids[: candidate.place]
        expected = target.logits([prefix]).softmax(-1)[0, candidate.true_ids[0]]
        assert probability == pytest.approx(float(expected), rel=1e-4)
    again = TargetAnswers(None, tmp_path).seen_in_window(made.window, candidates)  # from the journal
    assert again == seen


def test_an_answer_in_the_journal_is_of_its_own_question(made, tmp_path):
    """Two questions of as many candidates, asked in one order and then in the other."""
    target = Target(tiny_llama(), TOKENIZER, "tiny")
    candidates = made.by_quota[QUOTAS[0]]
    first, second = candidates[:2], candidates[2:4]
    answers = TargetAnswers(target, tmp_path)
    expected = [answers.outcomes(first), answers.outcomes(second)]
    assert expected[0] != expected[1]
    again = TargetAnswers(None, tmp_path)
    assert [again.outcomes(second), again.outcomes(first)] == expected[::-1]


def test_short_prompts_end_at_the_same_hole():
    tokenizer = byte_level_tokenizer(TEXT)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"]})
    formatter = PromptFormatter(tokenizer, "fim", 128)
    made = CandidateMaker(formatter, "java", 0, 4, window_tokens=None).of_file(FILE, QUOTAS[:1])
    assert made.window is None
    middle = tokenizer.convert_tokens_to_ids("<fim_middle>")
    suffix = tokenizer.convert_tokens_to_ids("<fim_suffix>")
    for candidate in made.by_quota[QUOTAS[0]]:
        assert (len(candidate.input_ids), len(candidate.short)) == (128, 32)
        assert candidate.short[-1] == candidate.input_ids[-1] == middle
        whole, short = (list(ids) for ids in (candidate.input_ids, candidate.short))
        left, short_left = whole[1 : whole.index(suffix)], short[1 : short.index(suffix)]
        assert left[len(left) - len(short_left) :] == short_left
