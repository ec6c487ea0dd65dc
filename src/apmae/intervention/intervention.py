"""An intervention as a value: which heads, what is done to them; saved as JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from apmae.common.atomic import replacing
from apmae.common.errors import ApmaeError
from apmae.intervention.operations import Operation, Zero, operation_of
from apmae.study import Study
from apmae.study.artifacts import BEST
from apmae.study.config import TargetConfig
from apmae.target_model import Head

FILE = "intervention.json"
MEANS = "means.safetensors"


@dataclass(frozen=True, eq=False)
class Intervention:
    """What is done to some heads of a model, at every position.

    Two interventions are equal if they do the same to the same heads.

    Attributes:
        heads: (layer, head) each, from 0.
        operation: what is done to each of them.
        means: (heads, D) float32 in the order of `heads`, for an operation that uses them; None where
            whoever runs it brings them.
        gates: in the order of `heads`, each head's own factor in [0, 1], for an operation that uses them.
        target: the model that it was found on, if known.
    """

    heads: tuple[Head, ...]
    operation: Operation = field(default_factory=Zero)
    means: Tensor | None = None
    gates: tuple[float, ...] | None = None
    target: TargetConfig | None = None

    def __post_init__(self) -> None:
        if self.means is not None and not self.operation.uses_means:
            raise ApmaeError(f"the operation {self.operation.name} uses no means: leave them out")
        if self.means is not None and len(self.means) != len(self.heads):
            raise ApmaeError(f"{len(self.heads)} heads need as many means, not {len(self.means)}")
        if self.operation.uses_gates and self.gates is None:
            raise ApmaeError(f"the operation {self.operation.name} needs gates")
        if self.gates is not None and not self.operation.uses_gates:
            raise ApmaeError(f"the operation {self.operation.name} uses no gates: leave them out")
        if self.gates is not None and len(self.gates) != len(self.heads):
            raise ApmaeError(f"{len(self.heads)} heads need as many gates, not {len(self.gates)}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intervention) and self._deed == other._deed

    def __hash__(self) -> int:
        return hash(self._deed)

    @property
    def _deed(self) -> tuple[frozenset[tuple[Head, float]], Operation]:
        return frozenset(self._head_factors), self.operation

    @property
    def _head_factors(self) -> Iterator[tuple[Head, float]]:
        factors = self.gates or [self.operation.factor] * len(self.heads)
        return zip(self.heads, factors, strict=True)

    def save(self, directory: str | Path) -> None:
        """Write `intervention.json` and, with means, `means.safetensors` to a directory."""
        values: dict[str, Any] = {
            "target": None if self.target is None else self.target.model_dump(mode="json"),
            "operation": self.operation.name,
            "factor": self.operation.factor,
            "heads": [list(head) for head in self.heads],
        }
        if self.gates is not None:
            values["gates"] = list(self.gates)
        if self.means is not None:
            with replacing(Path(directory) / MEANS) as path:
                save_file({"means": self.means.contiguous()}, path)
        with replacing(Path(directory) / FILE) as path:
            path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: str | Path) -> Intervention:
        """Read what `save` wrote.

        Raises:
            ApmaeError: the directory holds no intervention, or a broken one.
        """
        directory = Path(directory)
        path = directory / FILE
        if not path.is_file():
            raise ApmaeError(f"{directory} holds no intervention (no {FILE})")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            operation = operation_of(values["operation"], float(values["factor"]))
            return cls(
                heads=tuple((int(layer), int(head)) for layer, head in values["heads"]),
                operation=operation,
                means=load_file(directory / MEANS)["means"] if operation.uses_means else None,
                gates=tuple(map(float, values["gates"])) if operation.uses_gates else None,
                target=_target(values["target"]),
            )
        except ApmaeError:
            raise
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise ApmaeError(f"{path} cannot be read as an intervention: {error}") from None

    @classmethod
    def best_of(cls, study: Study, task: str | None = None) -> Intervention:
        """The intervention that did best on a task's tuning prompts.

        Args:
            task: may be left out where one task alone has such an intervention.

        Raises:
            ApmaeError: there is none for the task, there are several tasks to choose from, or the study's
                interventions were made of other stages than are there now.
        """
        study.require_finished("intervene")
        there = [name for name in study.config.prompts.tasks if (study.path(BEST) / name).is_dir()]
        if task is None and len(there) == 1:
            task = there[0]
        if task not in there:
            known = f"there are: {', '.join(there)}" if there else "nothing helped any task"
            wanted = (
                "name the task whose intervention to take" if task is None else f"none for the task {task}"
            )
            raise ApmaeError(f"{study.directory}: {wanted}; {known}")
        return cls.load(study.path(BEST) / task)

    def factors(self, n_layers: int, n_heads: int) -> Tensor:
        """(L, H) float32: the operation's factor, or the gate, for the heads; 1 for the others.

        Raises:
            ApmaeError: a model of this shape does not have all of the heads.
        """
        factors = torch.ones(n_layers, n_heads)
        for (layer, head), factor in self._head_factors:
            if not (0 <= layer < n_layers and 0 <= head < n_heads):
                raise ApmaeError(
                    f"the intervention's head ({layer}, {head}) is not in this model of "
                    f"{n_layers} layers of {n_heads} heads"
                )
            factors[layer, head] = factor
        return factors


def _target(values: dict[str, Any] | None) -> TargetConfig | None:
    return None if values is None else TargetConfig.model_validate(values)
