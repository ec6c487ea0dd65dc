"""Learned blocks by hand."""

import numpy as np
from scipy.special import logit

from apmae.prediction.learned import LEARNED, FileMemory, TokenIdentity, TokenKind
from apmae.prediction.linear import LinearModel


def test_a_token_is_of_the_kind_where_holes_of_other_groups_start_with_it():
    # Columns: predicted, first of the hole. Group 0: tokens 7 and 8; group 1: 7 and 9.
    block = np.array([[7, 7], [8, 8], [7, 7], [5, 9], [9, 9], [8, 7]])
    groups = np.array([0, 0, 1, 1, 1, 1])
    kind, own = TokenKind.fit(block, np.ones(6, dtype=bool), groups)
    assert own[:, 0].tolist() == [1, 0, 1, 0, 0, 1]
    assert kind.columns(np.array([[7, -1], [8, -1], [9, -1], [5, -1], [1, 7]]))[:, 0].tolist() == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_frequent_tokens_have_a_column_each_and_rare_ones_one_together():
    first = np.repeat([3, 4, 5], [5, 6, 4])
    block = np.stack([first, np.arange(15)], axis=1)
    identity, own = TokenIdentity.fit(block, np.ones(15, dtype=bool), np.arange(15))
    assert own.shape == (15, 4)  # tokens 3 and 4, rare ones of the first column, and of the second
    new = identity.columns(np.array([[3, 3], [5, 0], [99, 99]]))
    assert new.tolist() == [[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_file_memory_by_hand():
    # Group 8: two correct ones and an incorrect one in file 1, a correct one in file 2; group 9: incorrect.
    block = np.array([[1, 8], [1, 8], [1, 8], [2, 8], [3, 9], [4, 9]])
    correct = np.array([True, True, False, True, False, False])
    memory, own = FileMemory.fit(block, correct, np.arange(6))

    def log_odds(right, count):
        return logit((right + 0.5) / (count + 1)) - logit(0.5)

    # Others of file 1: 1 of 2, 1 of 2, 2 of 2. No file tells the same of its own rows: it is forgotten.
    assert own[:, 0].tolist() == [0] * 6
    assert own[:, 1].tolist() == [1, 1, 1, 0, 0, 0]
    of_group = [
        log_odds(2, 3),
        log_odds(2, 3),
        log_odds(3, 3),
        log_odds(2, 3),
        log_odds(0, 1),
        log_odds(0, 1),
    ]
    np.testing.assert_allclose(own[:, 2], of_group, rtol=1e-5)
    new = memory.columns(np.array([[1, 8], [5, 9], [0, 0]]))
    np.testing.assert_allclose(
        new, [[0, 1, log_odds(3, 4), 1], [0, 0, log_odds(0, 2), 1], [0, 0, 0, 0]], rtol=1e-5
    )


def test_files_that_agree_are_remembered_and_files_balanced_by_the_sampling_are_not():
    files = np.repeat(np.arange(10), 4)
    block = np.stack([files, files], axis=1)
    for correct, remembered in ((files % 2 == 0, True), (np.arange(40) % 2 == 0, False)):
        memory, own = FileMemory.fit(block, correct, files)
        assert bool(np.abs(memory.of_file).max()) is remembered
        assert (np.abs(own[:, 0]).max() > 0) is np.bool_(remembered)


def test_a_row_of_training_does_not_know_its_own_outcome():
    """Of outcomes that are coin flips, training rows tell nothing of themselves."""
    generator = np.random.default_rng(0)
    lifts = []
    for _ in range(200):
        correct, files = generator.random(120) < 0.5, generator.integers(0, 60, 120)
        block = np.stack([files, files // 4], axis=1)
        memory, own = FileMemory.fit(block, correct, files)
        both = [columns[:, [0, 2]] for columns in (own, memory.columns(block))]
        lifts.append([columns[correct].mean(0) - columns[~correct].mean(0) for columns in both])
    others, with_itself = np.mean(lifts, axis=0)
    # Where others agree by chance they are remembered, which leaves a little.
    assert (others < 0.12).all()
    assert (with_itself > 0.2).all()


def test_a_saved_model_knows_what_it_learned(tmp_path):
    generator = np.random.default_rng(0)
    files = generator.integers(0, 12, 80)
    correct = (files % 2 == 0) ^ (generator.random(80) < 0.1)
    blocks = {
        "confidence": generator.random((80, 3)).astype(np.float32),
        "token_kind": generator.integers(0, 5, (80, 2)),
        "token_identity": generator.integers(0, 5, (80, 3)),
        "file_memory": np.stack([files, files // 3], axis=1),
    }
    assert set(LEARNED) < set(blocks)
    model = LinearModel.fit(blocks, correct, files, 0)
    model.save(tmp_path / "model.safetensors")
    read = LinearModel.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(read.log_odds(blocks), model.log_odds(blocks), rtol=1e-6)
    assert ((model.log_odds(blocks) > 0) == correct).mean() > 0.8
    blocks["token_kind"][:, 1] = -1  # what the hole starts with is not looked at in new rows
    np.testing.assert_allclose(read.log_odds(blocks), model.log_odds(blocks), rtol=1e-6)
