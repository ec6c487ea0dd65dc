"""Cutting patterns into tokens, and which of them are masked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apmae.autoencoder import APMAEConfig, PatternTokens
from apmae.autoencoder.tokens import check_tokens, gather, mask_tokens, tokenize
from apmae.common.errors import ApmaeError

PLAIN = APMAEConfig.tiny(pattern_size=4, patch_size=2)
ROWS = APMAEConfig.tiny(pattern_size=4, patch_size=2, row_tokens=True)
FINE = APMAEConfig.tiny(pattern_size=4, patch_size=2, row_tokens=True, row_token_size=1)


def test_tokens_of_a_4x4_pattern():
    pattern = torch.arange(16.0).reshape(1, 4, 4)
    tokens = tokenize(pattern, ROWS)
    assert tokens.patches.tolist() == [[[0, 1, 4, 5], [8, 9, 12, 13], [10, 11, 14, 15]]]
    assert tokens.rows.tolist() == [[[12, 13], [14, 15]]]
    assert tokenize(pattern, FINE).rows.tolist() == [[[12], [13], [14], [15]]]
    assert tokenize(pattern, PLAIN).rows is None


def test_tokens_keep_their_dtype():
    assert tokenize(torch.rand(1, 4, 4).half(), ROWS).patches.dtype == torch.float16


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 4), (1, 4, 2), (1, 1, 4, 4)])
def test_patterns_of_another_size(shape):
    with pytest.raises(ApmaeError) as error:
        tokenize(torch.rand(shape), PLAIN)
    assert str(error.value) == f"patterns have shape {shape}; this model reads (N, 4, 4)"


@pytest.mark.parametrize(("config", "other"), [(PLAIN, ROWS), (ROWS, PLAIN)])
def test_tokens_of_another_model(config, other):
    tokens = tokenize(torch.rand(1, 4, 4), other)
    with pytest.raises(ApmaeError, match=r"^tokens have patches \(3, 4\) and rows .*; this model reads"):
        check_tokens(tokens, config)
    with pytest.raises(ApmaeError, match=r"patches \(2, 4\)"):
        check_tokens(PatternTokens(tokens.patches[:, :2], tokens.rows), other)


def test_largest_noise_is_masked():
    masking = mask_tokens(torch.tensor([[0.2, 0.9, 0.1], [0.5, 0.4, 0.3]]), PLAIN)
    assert masking.masked.tolist() == [[1], [0]]
    assert masking.visible.tolist() == [[2, 0], [2, 1]]
    assert masking.masked_patches == 1


def test_row_tokens_are_masked_with_their_patch():
    """Three patches (0, 0), (1, 0), (1, 1); row tokens 3 and 4 lie in the latter two."""
    masking = mask_tokens(torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.2, 0.9]]), ROWS)
    assert masking.masked.tolist() == [[1, 3], [2, 4]]
    assert [sorted(row) for row in masking.visible.tolist()] == [[0, 2, 4], [0, 1, 3]]
    assert masking.masked_patches == 1


def test_all_pieces_of_a_patch_are_masked_with_it():
    """Row tokens 3 and 4 lie in patch 1, row tokens 5 and 6 in patch 2."""
    masking = mask_tokens(torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.2, 0.9]]), FINE)
    assert masking.masked.tolist() == [[1, 3, 4], [2, 5, 6]]
    assert [sorted(row) for row in masking.visible.tolist()] == [[0, 2, 5, 6], [0, 1, 3, 4]]
    assert masking.masked_patches == 1


@given(
    grid=st.integers(2, 9),
    mask_ratio=st.floats(0.5, 0.95),
    row_tokens=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_masking_rules(grid, mask_ratio, row_tokens, seed):
    config = APMAEConfig.tiny(
        pattern_size=2 * grid, patch_size=2, mask_ratio=mask_ratio, row_tokens=row_tokens
    )
    patches = grid * (grid + 1) // 2
    noise = torch.rand(5, patches, generator=torch.Generator().manual_seed(seed))
    masking = mask_tokens(noise, config)
    if row_tokens:
        masked_patches = int(mask_ratio * grid) + int(mask_ratio * (patches - grid))
    else:
        masked_patches = int(mask_ratio * patches)
    assert masking.masked_patches == masked_patches
    for visible, masked in zip(masking.visible.tolist(), masking.masked.tolist(), strict=True):
        assert sorted(visible + masked) == list(range(patches + grid * row_tokens))
        assert max(masked[:masked_patches]) < patches
        rows = {token - patches for token in masked[masked_patches:]}
        last_row_of_patches = {token - (patches - grid) for token in masked[:masked_patches]}
        assert rows == {place for place in last_row_of_patches if place >= 0 and row_tokens}


@pytest.mark.parametrize("shape", [(1, 4), (3,)])
def test_noise_of_another_size(shape):
    with pytest.raises(ApmaeError) as error:
        mask_tokens(torch.rand(shape), PLAIN)
    assert str(error.value) == f"noise has shape {shape}; this model masks (N, 3) patches"


def test_gather():
    tokens = torch.arange(12).reshape(2, 3, 2)
    assert gather(tokens, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
