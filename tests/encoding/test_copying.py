"""Sources and occurrences by hand."""

import numpy as np
import pytest
import torch

from apmae.encoding.copying import copy_attention, copy_sources, occurrences

A, B, C, D = 5, 7, 9, 11
WINDOW = np.array([A, B, C, A, B, D, A, B], dtype=np.int32)


def test_sources_by_hand():
    ids, predicted = torch.from_numpy(WINDOW)[None].long(), torch.tensor([[C, D, A, C]])
    found = copy_sources(ids, predicted, 5)[0]
    assert found.shape == (4, 8, 3)
    places = [[found[q, :, kind].nonzero()[:, 0].tolist() for kind in range(3)] for q in range(4)]
    assert places == [
        [[2], [2], [2]],  # A B C A B -> C
        [[5], [], []],  # ... D -> D
        [[0, 3, 6], [1, 4], []],  # ... A -> A
        [[2], [2, 5], [2]],  # ... A B -> C
    ]


def test_a_token_that_was_repeated_may_be_repeated_again():
    found = copy_sources(torch.tensor([[A, B, B, C]]), torch.tensor([[B]]), 3)[0, 0]
    assert found[:, 0].tolist() == [False, True, True, False]
    assert found[:, 1].tolist() == [False, False, True, False]


def test_attention_adds_up_over_the_sources():
    rows = torch.tensor([[[[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]]]])
    sources = torch.tensor([[[[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]]]]).bool()
    torch.testing.assert_close(
        copy_attention(rows, sources), torch.tensor([[[[0.4, 0.5, 0.3], [1.0, 0.0, 0.0]]]])
    )


def test_occurrences_by_hand():
    found = occurrences(WINDOW, np.array([8, 8, 6, 7]), np.array([C, B, A, 13]))
    expected = [
        [1, 2, 1, 5, 2, 5, 2, 2],  # A B C A B D A B -> C; as after A B, and as D does not
        [3, 2, 0, 0, 2, 8, 0, 2],  # -> B, which never followed B
        [2, 0, 0, 2, 6, 6, 0, 0],  # A B C A B D -> A
        [0, 2, 0, 7, 2, 7, 0, 1],  # A B C A B D A -> 13
    ]
    np.testing.assert_allclose(np.expm1(found), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_occurrences_are_what_their_words_say(seed):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 3, 24).astype(np.int32)
    places, predicted = generator.integers(1, 25, 40), generator.integers(0, 4, 40)
    expected = [in_words(ids.tolist(), *asked) for asked in zip(places, predicted, strict=True)]
    np.testing.assert_allclose(np.expm1(occurrences(ids, places, predicted)), expected, atol=1e-4)


def in_words(ids, place, predicted):
    before = ids[:place]
    context = [agreeing(ids[:token], before) for token in range(place)]
    copies = [token for token in range(place) if ids[token] == predicted]
    followed = [token for token in range(place) if context[token]]
    sources = copies, followed, [token for token in copies if token in followed]
    longest = (
        max((context[token] for token in some), default=0)
        for some in (copies, set(range(place)) - set(copies))
    )
    return [*map(len, sources), *(place - 1 - max(some, default=-1) for some in sources), *longest]


def agreeing(one, other):
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count
