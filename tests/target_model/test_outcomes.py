"""Outcomes by hand."""

import math
import sys

import pytest
import torch

from apmae.target_model import TOP_TOKENS, outcomes, outcomes_with_top, top_log_probs


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


def test_many_rows_in_pieces_are_as_one(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 50, generator=generator) * 5
    logits[3, :10] = -torch.inf
    ids = torch.randint(10, 50, (7,), generator=generator)
    whole, top = outcomes_with_top(logits, ids)
    module = sys.modules["apmae.target_model.outcomes"]  # the package has a function of this name
    monkeypatch.setattr(module, "CACHED_LOGITS", 100)  # two rows
    pieces, top_of_pieces = outcomes_with_top(logits, ids)
    assert all(map(torch.equal, whole, pieces))
    assert torch.equal(top, top_of_pieces)
    assert torch.equal(top, top_log_probs(logits))
    assert top.shape == (7, TOP_TOKENS)
    expected = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(whole.entropy, expected.entropy())
    torch.testing.assert_close(whole.next_token_probability, expected.log_prob(ids).exp())
