"""Outcomes by hand."""

import math

import pytest
import torch

from apmae.target_model import outcomes


def test_outcomes_by_hand():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    found = outcomes(probabilities.log(), torch.tensor([0, 1]))
    assert found.predicted_id.tolist() == [0, 2]
    assert found.correct.tolist() == [True, False]
    assert found.next_token_probability.tolist() == pytest.approx([0.5, 0.125])
    assert found.max_probability.tolist() == pytest.approx([0.5, 0.75])
    assert found.margin.tolist() == pytest.approx([0.25, 0.625])
    assert found.entropy[0].item() == pytest.approx(1.5 * math.log(2))


def test_a_certain_prediction_has_no_entropy():
    found = outcomes(torch.tensor([[1000.0, 0.0, 0.0]]), torch.tensor([0]))
    assert found.entropy.tolist() == [0]
    assert found.margin.tolist() == [1]
