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
    found = np.zeros((len(places_K), OCCURRENCE_COLUMNS), dtype=np.float32)
    agreeing_TT = _agreeing(input_ids_T)
    for row, (place, predicted) in enumerate(zip(places_K, predicted_K, strict=True)):
        before = input_ids_T[:place]
        is_predicted = before == predicted
        context = np.concatenate(
            [[0], agreeing_TT[place - 1, : place - 1]]
        )  # of what stands before each token
        sources = np.stack([is_predicted, context > 0, is_predicted & (context > 0)])
        nearest = np.where(sources.any(1), np.argmax(sources[:, ::-1], axis=1), place)
        longest = [context[is_predicted].max(initial=0), context[~is_predicted].max(initial=0)]
        found[row] = np.log1p(np.concatenate([sources.sum(1), nearest, longest]))
    return found


def _agreeing(input_ids_T: NDArray[np.int32]) -> NDArray[np.int16]:
    """(T, T): how many tokens up to the one and up to the other, an earlier one, are the same."""
    length = len(input_ids_T)
    found = np.zeros((length, length), dtype=np.int16)
    found[0] = input_ids_T == input_ids_T[0]
    found[:, 0] = input_ids_T == input_ids_T[0]
    for place in range(1, length):
        same = input_ids_T[1:] == input_ids_T[place]
        found[place, 1:] = np.where(same, found[place - 1, :-1] + 1, 0)
    return found
