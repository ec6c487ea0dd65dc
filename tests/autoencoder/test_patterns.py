"""Pattern functions, worked by hand on 4 x 4 cases and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apmae.autoencoder import patterns

CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()
INF = math.inf


def log_probs(rows):
    """A 4 x 4 pattern from its rows of probabilities."""
    full = torch.zeros(4, 4)
    for index, row in enumerate(rows):
        full[index, : len(row)] = torch.tensor(row)
    return full.log().masked_fill(~CAUSAL, -INF)


PURE_SINK = torch.full((4, 4), -INF).index_fill(1, torch.tensor([0]), 0.0)
UNIFORM = log_probs([[1], [1 / 2] * 2, [1 / 3] * 3, [1 / 4] * 4])


def test_log_softmax_of_equal_scores_is_uniform_over_what_is_allowed():
    torch.testing.assert_close(patterns.log_softmax_masked(torch.zeros(4, 4), CAUSAL), UNIFORM)


def test_score_gaps_of_200_do_not_underflow():
    scores = torch.zeros(4, 4)
    scores[:, 0] = 200
    found = patterns.log_softmax_masked(scores, CAUSAL)
    expected = torch.full((4, 4), -200.0)
    expected[:, 0] = 0
    torch.testing.assert_close(found, expected.masked_fill(~CAUSAL, -INF))
    assert patterns.scale(found, "min_normalized")[3].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("queries", [1, 3, 5])
def test_without_a_mask_the_last_query_sees_every_key(queries):
    scores = torch.randn(2, queries, 5)
    allowed = torch.ones(queries, 5, dtype=torch.bool).tril(5 - queries)
    expected = patterns.log_softmax_masked(scores.clone(), allowed)
    assert torch.equal(patterns.log_softmax_masked(scores), expected)


def test_a_row_that_may_attend_to_nothing_is_masked_throughout():
    padded = CAUSAL.clone()
    padded[:, 0] = False
    found = patterns.log_softmax_masked(torch.randn(4, 4), padded)
    assert found[0].tolist() == [-INF] * 4
    torch.testing.assert_close(found[1:].exp().sum(-1), torch.ones(3))
    assert torch.isfinite(patterns.scale(found, "min_normalized")).all()


def test_min_normalized_maps_the_lowest_allowed_to_0_and_certainty_to_1():
    pattern = log_probs([[1], [0.9, 0.1], [0.5, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]])
    lowest = math.log(0.01)
    expected = torch.tensor(
        [
            [1, 0, 0, 0],
            [1 - math.log(0.9) / lowest, 1 - math.log(0.1) / lowest, 0, 0],
            [1 - math.log(0.5) / lowest, 1 - math.log(0.25) / lowest, 1 - math.log(0.25) / lowest, 0],
            [1 - math.log(0.97) / lowest, 0, 0, 0],
        ]
    )
    torch.testing.assert_close(patterns.scale(pattern, "min_normalized"), expected)


def test_a_pattern_without_spread_is_one_where_allowed():
    diagonal = torch.full((4, 4), -INF).fill_diagonal_(0)
    torch.testing.assert_close(patterns.scale(diagonal, "min_normalized"), torch.eye(4))
    torch.testing.assert_close(patterns.scale(PURE_SINK, "min_normalized"), PURE_SINK.exp())


def test_each_pattern_of_a_batch_is_normalised_by_its_own_minimum():
    batch = torch.stack([UNIFORM, log_probs([[1], [0.9, 0.1], [0.5, 0.5, 0.0], [0.7, 0.1, 0.1, 0.1]])])
    together = patterns.scale(batch, "min_normalized")
    for pattern, scaled in zip(batch, together, strict=True):
        torch.testing.assert_close(patterns.scale(pattern, "min_normalized"), scaled)


def test_absolute_scaling_is_one_fixed_log_scale_down_to_its_floor():
    pattern = torch.full((4, 4), -INF)
    pattern[3] = torch.tensor([0.0, -4.0, -16.0, -40.0])
    assert patterns.scale(pattern, "absolute")[3].tolist() == [1, 0.75, 0, 0]
    assert patterns.scale(pattern, "absolute")[:3].sum() == 0


def test_probability_scaling_gives_the_attention_weights():
    torch.testing.assert_close(patterns.scale(UNIFORM, "probability").sum(-1), torch.ones(4))


@pytest.mark.parametrize("scaling", ["min_normalized", "absolute", "probability"])
def test_scaling_leaves_its_input_alone(scaling):
    before = UNIFORM.clone()
    patterns.scale(before, scaling)
    assert torch.equal(before, UNIFORM)


@pytest.mark.parametrize("scaling", ["min_normalized", "absolute", "probability"])
@pytest.mark.parametrize(("low", "clamped"), [(-3.0, -3.0), (-40.0, -16.0), (0.0, 0.0)])
def test_unscale_inverts_scale_down_to_the_floor(scaling, low, clamped):
    pattern = torch.tensor([[0.0, -INF], [low, 0.0]])
    found = patterns.unscale(patterns.scale(pattern, scaling), scaling, pattern)
    assert found[0, 0] == found[1, 1] == 0
    assert found[1, 0].item() == pytest.approx(clamped, abs=1e-5)


@pytest.mark.parametrize("scaling", ["min_normalized", "absolute", "probability"])
def test_predictions_out_of_range_become_the_least_or_the_largest_probability(scaling):
    pattern = torch.tensor([[0.0, -INF], [-20.0, 0.0]])
    values = torch.tensor([[-0.5, 1.5], [-0.5, 1.5]])
    assert patterns.unscale(values, scaling, pattern).tolist() == [[-16, 0], [-16, 0]]


def test_patches_come_row_by_row_from_the_lower_triangle():
    pattern = torch.arange(16.0).reshape(4, 4)
    found = patterns.patchify(pattern, 2)
    assert found.tolist() == [[0, 1, 4, 5], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert patterns.patchify(pattern, 2, causal=False)[1].tolist() == [2, 3, 6, 7]
    assert patterns.causal_patch_indices(2).tolist() == [0, 2, 3]
    assert len(patterns.causal_patch_indices(8)) == 36


@given(
    grid=st.integers(1, 6), patch=st.integers(1, 5), batch=st.integers(1, 3), seed=st.integers(0, 2**32 - 1)
)
def test_unpatchify_inverts_patchify(grid, patch, batch, seed):
    side = grid * patch
    pattern = torch.rand(batch, side, side, generator=torch.Generator().manual_seed(seed))
    full = patterns.unpatchify(patterns.patchify(pattern, patch, causal=False), patch, causal=False)
    assert torch.equal(full, pattern)
    causal = pattern.tril()
    assert torch.equal(patterns.unpatchify(patterns.patchify(causal, patch), patch), causal)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no whole patches of side 3"):
        patterns.patchify(torch.zeros(4, 4), 3)


def test_last_row_tokens_are_the_predicting_positions_row():
    pattern = torch.arange(16.0).reshape(4, 4)
    assert patterns.last_row_tokens(patterns.patchify(pattern, 2), 2).tolist() == [[12, 13], [14, 15]]


def test_row_statistics_by_hand():
    side = 64
    row = torch.zeros(side)
    row[0], row[20], row[-33], row[-8], row[-1] = 0.5, 0.125, 0.125, 0.125, 0.125
    expected = {
        "entropy": 0.5 * math.log(2) + 4 * 0.125 * math.log(8),
        "mass_first": 0.5,
        "mass_last_1": 0.125,
        "mass_last_8": 0.25,
        "mass_last_32": 0.25,
        "largest": 0.5,
        "second_largest": 0.125,
    }
    found = dict(zip(patterns.ROW_STATISTICS, patterns.row_statistics(row.log()).tolist(), strict=True))
    assert found == pytest.approx(expected)
