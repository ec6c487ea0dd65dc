import pytest
import torch

from apmae.prompts import PromptFormatter
from experiments.toy_models.evaluate import PER_FILE, TASKS, accuracies, accuracy, find_holes
from experiments.toy_models.sizes import ROW_TOKENS
from experiments.toy_models.tokenizer import PREFIX, SUFFIX, pretrained
from experiments.toy_models.train import load_tokenizer


class Repeater:
    """A target that always predicts one token."""

    def __init__(self, tokenizer, token_id):
        self.tokenizer = tokenizer
        self.token_id = token_id

    def logits(self, prompts):
        logits = torch.zeros(len(prompts), len(self.tokenizer))
        logits[:, self.token_id] = 1.0
        return logits


@pytest.fixture(scope="module")
def tokenizer(tokenizer_directory):
    return pretrained(load_tokenizer(tokenizer_directory), ROW_TOKENS)


def test_both_prompts_of_a_hole_ask_for_the_same_place(tokenizer, files):
    formatters = [PromptFormatter(tokenizer, name, 256) for name in ("fim", "causal")]
    holes = list(find_holes("identifiers", files.held_out, formatters, seed=0))
    assert 0 < len(holes) <= PER_FILE * len(files.held_out)
    for hole in holes:
        fim = tokenizer.decode(hole.fim.input_ids, skip_special_tokens=False)
        left = fim.split(PREFIX)[1].split(SUFFIX)[0]
        assert tokenizer.decode(hole.causal.input_ids).rstrip(" ").endswith(left.rstrip(" "))
        assert len(hole.fim.input_ids) == len(hole.causal.input_ids) == 256
        asked = tokenizer.decode([hole.fim.next_token_id]), tokenizer.decode([hole.causal.next_token_id])
        assert asked[1].strip().startswith(asked[0]) or asked[0].startswith(asked[1].strip())


def test_accuracy_is_the_fraction_of_right_next_tokens(tokenizer, files):
    formatter = PromptFormatter(tokenizer, "fim", 256)
    holes = list(find_holes("identifiers", files.held_out, [formatter, formatter], seed=0))
    prompts = [hole.fim for hole in holes]
    expected = sum(prompt.next_token_id == prompts[0].next_token_id for prompt in prompts) / len(prompts)
    assert 0 < expected < 1
    assert accuracy(Repeater(tokenizer, prompts[0].next_token_id), prompts) == pytest.approx(expected)


def test_every_task_is_measured(tokenizer, files):
    closing_bracket = tokenizer.convert_tokens_to_ids(")")
    found = {
        row.task: row for row in accuracies(Repeater(tokenizer, closing_bracket), files.held_out, 3, seed=0)
    }
    assert tuple(found) == TASKS
    assert len(TASKS) == 16
    assert found["closing_bracket"].holes == 3
    assert found["identifiers"].fim == 0.0
