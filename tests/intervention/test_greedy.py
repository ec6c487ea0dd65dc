"""Greedy selection on made-up scores, and which heads are proposed to it."""

from itertools import combinations

import pytest
import torch
from helpers.studies import random_prompts
from hypothesis import given
from hypothesis import strategies as st

from apmae.intervention.greedy import GRADIENT_BATCH, Effect, greedy_heads, promising_heads

A, B, C, D = (0, 0), (0, 1), (1, 0), (1, 1)


def table(scores, log_probability=None):
    """Scores by set of heads, and the sets that were asked for."""
    asked = []

    def evaluate(sets):
        asked.append(list(sets))
        return [
            Effect(scores.get(frozenset(heads), 0), (log_probability or {}).get(frozenset(heads), -1.0))
            for heads in sets
        ]

    return evaluate, asked


def those(*heads):
    """Proposes these, but what is chosen already."""
    return lambda chosen: [head for head in heads if head not in chosen]


def test_the_best_head_is_added_until_nothing_helps():
    # B alone is best; with it, A and C are equal and the first is taken; D would undo all of it.
    evaluate, asked = table(
        {
            frozenset({A}): 1,
            frozenset({B}): 3,
            frozenset({C}): 2,
            frozenset({A, B}): 4,
            frozenset({B, C}): 4,
            frozenset({A, B, C}): 4,
            frozenset({A, B, D}): 1,
        }
    )
    assert greedy_heads(those(A, B, C, D), 4, evaluate) == (B, A)
    assert asked == [
        [(A,), (B,), (C,), (D,)],
        [(B, A), (B, C), (B, D)],
        [(B, A, C), (B, A, D)],
    ]


def test_a_head_that_only_helps_with_another_is_found_by_neither():
    evaluate, _ = table({frozenset({A, B}): 5})
    assert greedy_heads(those(A, B), 2, evaluate) == ()


def test_equal_changes_are_decided_by_the_probability_of_the_true_token():
    evaluate, _ = table({frozenset({A}): 1, frozenset({B}): 1}, {frozenset({A}): 0.1, frozenset({B}): 0.5})
    assert greedy_heads(those(A, B), 1, evaluate) == (B,)


def test_no_more_heads_than_allowed_and_none_twice():
    evaluate, asked = table({frozenset({A}): 1, frozenset({A, B}): 2, frozenset({A, B, C}): 3})
    assert greedy_heads(those(A, B, C), 2, evaluate) == (A, B)
    assert len(asked) == 2
    everything, _ = table({frozenset({A}): 1, frozenset({A, B}): 2})
    assert greedy_heads(those(A, B), 8, everything) == (A, B)


@given(st.dictionaries(st.sampled_from([A, B, C, D]), st.integers(-3, 3)))
def test_where_heads_add_up_greedy_finds_the_best_set(worth):
    sets = [frozenset(heads) for size in range(5) for heads in combinations([A, B, C, D], size)]
    total = {heads: sum(worth.get(head, 0) for head in heads) for heads in sets}
    evaluate, _ = table(total)
    assert total[frozenset(greedy_heads(those(A, B, C, D), 4, evaluate))] == max(total.values())


@pytest.mark.parametrize("most", [1, 3])
def test_without_candidates_nothing_is_chosen(most):
    assert greedy_heads(those(), most, lambda sets: [Effect(0, 0.0) for _ in sets]) == ()


def test_what_is_proposed_goes_by_what_is_chosen():
    evaluate, asked = table({frozenset({A}): 1, frozenset({A, D}): 2})
    assert greedy_heads(lambda chosen: [D] if chosen == (A,) else [A], 2, evaluate) == (A, D)
    assert asked == [[(A,)], [(A, D)]]


@pytest.mark.parametrize("zeroed", [(), ((1, 2), (0, 3))])
def test_the_heads_of_which_less_is_better_are_proposed(llama, zeroed):
    prompts = random_prompts(count=40).filter(task="eol").head(GRADIENT_BATCH + 2)
    true_ids = prompts["next_token_id"].to_list()

    def mean_log_probability(factors):
        with llama.scale_heads(factors):
            logits = llama.logits(prompts["input_ids"].to_list()).double()
        return float(logits.log_softmax(-1)[torch.arange(len(true_ids)), true_ids].mean())

    none = dict.fromkeys(zeroed, 0.0)
    gains = {
        head: mean_log_probability(none | {head: 0.95}) - mean_log_probability(none | {head: 1.05})
        for head in llama.heads
        if head not in zeroed
    }
    ranked = sorted(gains, key=gains.__getitem__, reverse=True)
    assert promising_heads(llama, prompts, zeroed, 3) == ranked[:3]
    assert promising_heads(llama, prompts, zeroed, 100) == ranked
