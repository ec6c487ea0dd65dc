import numpy as np

from apmae.prediction.protocols import cross_validation, group_folds, held_out

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


def test_group_folds_cut_through_no_group():
    groups = np.arange(50) // 5
    splits = group_folds(CORRECT, groups, 5, seed=0)
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(50))
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])


def test_fewer_group_folds_for_few_groups_or_outcomes():
    assert len(group_folds(CORRECT, np.arange(50) // 20, 5, seed=0)) == 3
    assert group_folds(CORRECT, np.zeros(50, dtype=int), 5, seed=0) == []
    assert group_folds(np.arange(50) == 3, np.arange(50), 5, seed=0) == []
    # Both correct prompts are in one group: the fold that leaves it out has no correct one to learn from.
    rare = group_folds(np.arange(50) < 2, np.arange(50) // 10, 5, seed=0)
    assert len(rare) == 1
    assert 0 in rare[0].train
