"""What can be done to a head's output, where it enters the output projection.

Every operation hands on `factor * output + (1 - factor) * mean`, with the head's mean output where the
operation uses it, else without the second term. A new operation is a class here and its name in
`apmae.vocabulary.OperationName`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from apmae.common.errors import ApmaeError
from apmae.study.config import InterventionConfig


@dataclass(frozen=True)
class Operation:
    """What is done to a head's output.

    Attributes:
        factor: what is left of the output.
        name: in configs and tables.
        phrase: the operation in words, with `{factor:g}` where it has one.
        uses_means: whether the head's mean output over tuning prompts takes the place of the rest.
        takes_factor: whether the factor can be chosen.
        uses_gates: whether every head has a factor of its own.

    Raises:
        ApmaeError: a factor was given to an operation that takes none.
    """

    factor: float = 0.0
    name: ClassVar[str]
    phrase: ClassVar[str]
    uses_means: ClassVar[bool] = False
    takes_factor: ClassVar[bool] = False
    uses_gates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.factor and not self.takes_factor:
            raise ApmaeError(f"the operation {self.name} has no factor: leave it out, or use scale")

    @property
    def words(self) -> str:
        """The operation in words."""
        return self.phrase.format(factor=self.factor)

    @classmethod
    def variants(cls, config: InterventionConfig) -> Iterator[Operation]:
        """The operations of this kind that a study asks for."""
        yield cls()


@dataclass(frozen=True)
class Zero(Operation):
    """Zero ablation, the paper's (section 7)."""

    name = "zero"
    phrase = "zero-ablated"


@dataclass(frozen=True)
class Mean(Operation):
    """Mean ablation: the head's mean output in place of its output."""

    name = "mean"
    phrase = "mean-ablated"
    uses_means = True


@dataclass(frozen=True)
class Scale(Operation):
    """The output times a factor."""

    name = "scale"
    phrase = "scaled by {factor:g}"
    takes_factor = True

    @classmethod
    def variants(cls, config: InterventionConfig) -> Iterator[Operation]:  # noqa: D102
        yield from map(cls, config.factors)


@dataclass(frozen=True)
class Gates(Operation):
    """The output of each head times a gate of its own in [0, 1], see `apmae.intervention.learned_gates`."""

    name = "gates"
    phrase = "scaled by learned gates"
    uses_gates = True


OPERATIONS: dict[str, type[Operation]] = {kind.name: kind for kind in (Zero, Mean, Scale)}
"""Those that a study can ask for, whichever way heads are chosen."""


def operation_of(name: str, factor: float) -> Operation:
    """The operation that a table or a saved intervention names.

    Raises:
        ApmaeError: there is none of that name, or it takes no factor.
    """
    known = OPERATIONS | {Gates.name: Gates}
    if name not in known:
        raise ApmaeError(f"an intervention's operation is one of {', '.join(known)}, not {name!r}")
    return known[name](factor)


def operations(config: InterventionConfig) -> Iterator[Operation]:
    """Every operation of a study."""
    for name in config.operations:
        yield from OPERATIONS[name].variants(config)
