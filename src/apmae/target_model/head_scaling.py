"""Changing head outputs: a factor multiplies each, and an offset may be added.

Shape suffixes: B prompts, L layers, H query heads, T tokens, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from apmae.common.errors import ApmaeError


@dataclass(frozen=True)
class HeadScaling:
    """`output * factor + offset`, out of place, for every head of a model.

    Attributes:
        factors: (B or 1, L, H).
        offsets: (B or 1, L, H, D), or None for none.
    """

    factors: Tensor
    offsets: Tensor | None = None

    def __call__(self, output_BTHD: Tensor, layer: int) -> Tensor:
        """Change one layer's head outputs, at every position alike.

        Raises:
            ApmaeError: factors or offsets have another number of rows than the batch.
        """
        factors_BH = self._rows(self.factors, output_BTHD)[:, layer]
        output = output_BTHD * factors_BH[:, None, :, None]
        if self.offsets is None:
            return output
        return output + self._rows(self.offsets, output_BTHD)[:, None, layer]

    def after(self, inner: HeadScaling) -> HeadScaling:
        """`inner` followed by this one, as one scaling."""
        factors = self.factors * inner.factors
        if inner.offsets is None:
            return HeadScaling(factors, self.offsets)
        offsets = self.factors[..., None] * inner.offsets
        return HeadScaling(factors, offsets if self.offsets is None else offsets + self.offsets)

    @staticmethod
    def _rows(values: Tensor, output_BTHD: Tensor) -> Tensor:
        if len(values) not in (1, len(output_BTHD)):
            raise ApmaeError(f"head factors are for {len(values)} prompts, the batch has {len(output_BTHD)}")
        return values.to(output_BTHD)
