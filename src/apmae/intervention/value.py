"""An intervention as a value: which heads, what is done to them; saved as JSON and safetensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from apmae.artifacts import BEST
from apmae.atomic import replacing
from apmae.config import TargetConfig
from apmae.errors import ApmaeError
from apmae.intervention.conditions import Operation
from apmae.study import Study
from apmae.target import Head

FILE = "intervention.json"
MEANS = "means.safetensors"


@dataclass(frozen=True)
class Intervention:
    """What is done to some heads of a model, at every position.

    A head hands `factor * output + (1 - factor) * mean` to the output projection.

    Attributes:
        heads: (layer, head) each, from 0.
        operation: `zero`, `mean` or `scale`.
        factor: what is left of a head's own output; 0 unless the operation is `scale`.
        means: (heads, D) float32 in the order of `heads`, of the operation `mean`.
        target: the model that it was found on, if known.
    """

    heads: tuple[Head, ...]
    operation: Operation = "zero"
    factor: float = 0.0
    means: Tensor | None = None
    target: TargetConfig | None = None

    def __post_init__(self) -> None:
        if self.operation not in ("zero", "mean", "scale"):
            raise ApmaeError(f"an intervention's operation is zero, mean or scale, not {self.operation!r}")
        if self.operation != "scale" and self.factor:
            raise ApmaeError(f"the operation {self.operation} has no factor: leave it out, or use scale")
        if (self.means is not None) != (self.operation == "mean"):
            raise ApmaeError("an intervention has means if its operation is mean, and only then")
        if self.means is not None and len(self.means) != len(self.heads):
            raise ApmaeError(f"{len(self.heads)} heads need as many means, not {len(self.means)}")

    def save(self, directory: str | Path) -> None:
        """Write `intervention.json` and, with means, `means.safetensors` to a directory."""
        values = {
            "target": None if self.target is None else self.target.model_dump(mode="json"),
            "operation": self.operation,
            "factor": self.factor,
            "heads": [list(head) for head in self.heads],
        }
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
            means = load_file(directory / MEANS)["means"] if values["operation"] == "mean" else None
            return cls(
                heads=tuple((int(layer), int(head)) for layer, head in values["heads"]),
                operation=values["operation"],
                factor=float(values["factor"]),
                means=means,
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
            ApmaeError: there is none for the task, or there are several tasks to choose from.
        """
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
        """(L, H) float32.

        Raises:
            ApmaeError: a model of this shape does not have all of the heads.
        """
        factors = torch.ones(n_layers, n_heads)
        for layer, head in self.heads:
            if not (0 <= layer < n_layers and 0 <= head < n_heads):
                raise ApmaeError(
                    f"the intervention's head ({layer}, {head}) is not in this model of "
                    f"{n_layers} layers of {n_heads} heads"
                )
            factors[layer, head] = self.factor
        return factors


def _target(values: dict[str, Any] | None) -> TargetConfig | None:
    return None if values is None else TargetConfig.model_validate(values)
