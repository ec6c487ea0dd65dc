"""Sources and occurrences by hand."""

import numpy as np
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
