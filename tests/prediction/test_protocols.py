import numpy as np

from apmae.prediction.protocols import cross_validation, held_out

CORRECT = np.arange(50) % 2 == 0


def test_every_row_is_tested_once_and_never_fitted_on_then():
    splits = cross_validation(CORRECT, 10, seed=0)
    assert len(splits) == 10
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(50))
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(50))
        assert 2 <= CORRECT[test].sum() <= 3


def test_folds_are_drawn_from_the_seed():
    first = cross_validation(CORRECT, 10, seed=0)[0].test.tolist()
    assert first == cross_validation(CORRECT, 10, seed=0)[0].test.tolist()
    assert first != cross_validation(CORRECT, 10, seed=1)[0].test.tolist()


def test_fewer_folds_for_few_prompts():
    assert len(cross_validation(np.array([True] * 3 + [False] * 9), 10, seed=0)) == 3
    assert cross_validation(np.array([True] + [False] * 9), 10, seed=0) == []
    assert cross_validation(np.array([True] * 9), 10, seed=0) == []
    assert cross_validation(np.array([], dtype=bool), 10, seed=0) == []


def test_held_out_is_the_split():
    ((train, test),) = held_out(np.array([True, False, True]))
    assert (train.tolist(), test.tolist()) == ([0, 2], [1])
    assert held_out(np.array([True, True])) == []
    assert held_out(np.array([False])) == []
