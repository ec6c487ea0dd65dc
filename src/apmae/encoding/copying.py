"""What a token may be copied from: earlier tokens like the predicted one, and how far heads attend to them.

Induction heads copy (Olsson et al. 2022, arXiv 2209.11895). Row statistics tell how sharply a head attends,
not whether the target predicts what the head attends to.

Shape suffixes: B windows, T tokens, Q tokens that are looked at, N heads, K tokens of a window, S sources.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SOURCES = ("predicted", "induction", "induction_to_predicted")
"""Earlier tokens that the predicted one may be copied from: its own occurrences, tokens that followed an
occurrence of the last token, and those that are both."""

OCCURRENCE_COLUMNS = 8
"""Columns of `occurrences`."""


def copy_sources(input_ids_BT: Tensor, predicted_BQ: Tensor, first: int) -> Tensor:
    """(B, Q, T, 3) bool: which earlier tokens are `SOURCES` of tokens `first` to `first + Q - 1`.

    The tokens are predicted from the position before, which counts as an earlier one.
    """
    length, count = input_ids_BT.shape[1], predicted_BQ.shape[1]
    last = torch.arange(first - 1, first - 1 + count, device=input_ids_BT.device)
    visible_QT = torch.arange(length, device=input_ids_BT.device) <= last[:, None]
    predicted_BQT = (input_ids_BT[:, None] == predicted_BQ[..., None]) & visible_QT
    induction_BQT = torch.zeros_like(predicted_BQT)
    induction_BQT[..., 1:] = input_ids_BT[:, None, :-1] == input_ids_BT[:, last][..., None]
    induction_BQT &= visible_QT
    return torch.stack([predicted_BQT, induction_BQT, predicted_BQT & induction_BQT], -1)


def copy_attention(rows_BQNT: Tensor, sources_BQTS: Tensor) -> Tensor:
    """(B, Q, N, S) float32: the attention that each head pays to the sources, from probabilities."""
    return rows_BQNT @ sources_BQTS.to(rows_BQNT.dtype)


def occurrences(
    input_ids_T: NDArray[np.int32], places_K: NDArray[np.int64], predicted_K: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What a window's tokens themselves tell of whether a predicted token is copied; no attention.

    Args:
        input_ids_T: the window.
        places_K: of tokens of it, each predicted from what stands before.
        predicted_K: what the target predicts there.

    Returns:
        (K, 8), all logarithms: how many there are of each of the three `SOURCES`, how far back the nearest of
        each is, and how many tokens of context agree with an earlier context, the longest that the predicted
        token followed and the longest that another one followed.
    """
    length = len(input_ids_T)
    before_KT = np.arange(length) < places_K[:, None]
    predicted_KT = (input_ids_T == predicted_K[:, None]) & before_KT
    context_KT = np.zeros((len(places_K), length), dtype=np.int32)  # that stands before each token
    context_KT[:, 1:] = _agreeing(input_ids_T, places_K)[:, :-1]
    induction_KT = context_KT > 0
    sources_SKT = np.stack([predicted_KT, induction_KT, predicted_KT & induction_KT])
    back_SK = np.argmax(sources_SKT[..., ::-1], axis=-1) - (length - places_K)
    nearest_SK = np.where(sources_SKT.any(-1), back_SK, places_K)
    longest_2K = [np.where(of, context_KT, 0).max(1) for of in (predicted_KT, ~predicted_KT)]
    columns_CK = np.vstack([sources_SKT.sum(-1), nearest_SK, longest_2K])
    logarithms_KC: NDArray[np.float32] = np.log1p(columns_CK.T).astype(np.float32)
    return logarithms_KC


def _agreeing(input_ids_T: NDArray[np.int32], places_K: NDArray[np.int64]) -> NDArray[np.int32]:
    """(K, T): how many tokens up to the last before a place and up to an earlier one are the same."""
    last_K = places_K[:, None] - 1
    found = np.zeros((len(places_K), len(input_ids_T)), dtype=np.int32)
    same = (input_ids_T == input_ids_T[last_K]) & (np.arange(len(input_ids_T)) < last_K)
    back = 0
    while same.any():
        found += same
        back += 1
        same[:, :back] = False
        same[:, back:] &= input_ids_T[:-back] == input_ids_T[last_K - back]
    return found
