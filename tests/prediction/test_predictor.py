"""Predictors by hand; `test_stage` has those of a study."""

import numpy as np

from apmae.prediction.calibration import Calibration
from apmae.prediction.linear import Columns, LinearModel
from apmae.prediction.predictor import Predictor


def columns(count):
    """Columns that leave numbers as they are."""
    zeros, ones = np.zeros(count, dtype=np.float32), np.ones(count, dtype=np.float32)
    return Columns(np.arange(count), zeros, ones, low=-np.inf * ones, high=np.inf * ones)


def by_hand():
    """Two heads with two columns each in one block, one column each in another; confidence beside them."""
    weights = {"confidence": [1], "row_statistics": [1, 2, 0, -1], "cls_encodings": [0.5, 10]}
    model = LinearModel(
        {name: columns(len(values)) for name, values in weights.items()},
        {name: np.array(values, dtype=np.float32) for name, values in weights.items()},
        bias=0.25,
    )
    return Predictor(model, Calibration(slope=2.0, offset=-1.0))


BLOCKS = {
    "confidence": np.array([[3], [0]], dtype=np.float32),
    "row_statistics": np.array([[1, 1, 5, 1], [0, 0, 0, 0]], dtype=np.float32),
    "cls_encodings": np.array([[4, 0], [0, -1]], dtype=np.float32),
}


def test_a_heads_part_is_the_sum_of_its_columns_times_the_slope():
    # Prompt 0: head 0 has 1 + 2 and 2, head 1 has -1 and 0; prompt 1: head 1 has -10.
    found = by_hand().head_contributions(BLOCKS, 2)
    np.testing.assert_allclose(found, [[10, -2], [0, -20]])


def test_log_odds_are_calibrated():
    # Prompt 0: 0.25 + 3 + (1 + 2 - 1) + 2 = 7.25; prompt 1: 0.25 - 10.
    np.testing.assert_allclose(by_hand().log_odds(BLOCKS), [13.5, -20.5])


def test_a_saved_model_predicts_the_same(tmp_path):
    generator = np.random.default_rng(0)
    blocks = {
        "clusters": generator.integers(-1, 3, (40, 4)).astype(np.int16),
        "row_statistics": generator.normal(0, 1, (40, 6)).astype(np.float32),
    }
    model = LinearModel.fit(blocks, np.arange(40) % 2 == 0, np.arange(40) // 2, 0)
    model.save(tmp_path / "model.safetensors")
    read = LinearModel.load(tmp_path / "model.safetensors")
    np.testing.assert_allclose(read.log_odds(blocks), model.log_odds(blocks), rtol=1e-6)
    assert read.columns["clusters"].source.tolist() == model.columns["clusters"].source.tolist()
