"""Greedy selection on made-up scores, and on a target in which one head is known to do harm."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apmae.intervention.greedy import Score, greedy_heads

A, B, C, D = (0, 0), (0, 1), (1, 0), (1, 1)


def table(scores, log_probability=None):
    """Scores by set of heads, and the sets that were asked for."""
    asked = []

    def evaluate(sets):
        asked.append(list(sets))
        return [
            Score(scores.get(frozenset(heads), 0), (log_probability or {}).get(frozenset(heads), -1.0))
            for heads in sets
        ]

    return evaluate, asked


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
    assert greedy_heads([A, B, C, D], 4, evaluate) == (B, A)
    assert asked == [
        [(), (A,), (B,), (C,), (D,)],
        [(B, A), (B, C), (B, D)],
        [(B, A, C), (B, A, D)],
    ]


def test_a_head_that_only_helps_with_another_is_found_by_neither():
    evaluate, _ = table({frozenset({A, B}): 5})
    assert greedy_heads([A, B], 2, evaluate) == ()


def test_equal_changes_are_decided_by_the_probability_of_the_true_token():
    evaluate, _ = table({frozenset({A}): 1, frozenset({B}): 1}, {frozenset({A}): -0.9, frozenset({B}): -0.5})
    assert greedy_heads([A, B], 1, evaluate) == (B,)


def test_no_more_heads_than_allowed_and_none_twice():
    evaluate, asked = table({frozenset({A}): 1, frozenset({A, B}): 2, frozenset({A, B, C}): 3})
    assert greedy_heads([A, B, C], 2, evaluate) == (A, B)
    assert len(asked) == 2
    everything, _ = table({frozenset({A}): 1, frozenset({A, B}): 2})
    assert greedy_heads([A, B], 8, everything) == (A, B)


@given(st.dictionaries(st.sampled_from([A, B, C, D]), st.integers(-3, 3)))
def test_where_heads_add_up_greedy_finds_the_best_set(worth):
    sets = [frozenset(heads) for size in range(5) for heads in combinations([A, B, C, D], size)]
    total = {heads: sum(worth.get(head, 0) for head in heads) for heads in sets}
    evaluate, _ = table(total)
    assert total[frozenset(greedy_heads([A, B, C, D], 4, evaluate))] == max(total.values())


@pytest.mark.parametrize("most", [1, 3])
def test_without_candidates_nothing_is_chosen(most):
    assert greedy_heads([], most, lambda sets: [Score(0, 0.0) for _ in sets]) == ()
