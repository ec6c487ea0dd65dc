"""A checkpoint that has an intervention in its weights."""

from __future__ import annotations

from pathlib import Path

from apmae.common.errors import ApmaeError
from apmae.intervention.apply import write_into_weights
from apmae.intervention.intervention import FILE, Intervention
from apmae.study import Study
from apmae.study.artifacts import CONFIG
from apmae.target_model.loading import load_model_and_tokenizer


def export_model(
    source: str | Path, output: str | Path, task: str | None = None, trust_remote_code: bool = False
) -> Intervention:
    """Write the target of a study, or of a saved intervention, with the intervention in its weights.

    The directory loads in plain Transformers and gives the logits of the model under `apply`, up to
    rounding: exactly where heads are zero-ablated.

    Args:
        source: a study's directory, or one that `Intervention.save` wrote.
        output: a new directory.
        task: of the study, whose best intervention to take.
        trust_remote_code: whether the target may bring code of its own; what `source` says of that does not
            count.

    Raises:
        ApmaeError: `source` holds neither, `output` exists, the intervention names no model, or the model
            cannot hold it.
    """
    source, output = Path(source), Path(output)
    if output.exists():
        raise ApmaeError(f"{output} is there already: name a new directory")
    intervention = _intervention(source, task)
    if intervention.target is None:
        raise ApmaeError(f"{source / FILE} names no target: there is no model to export")
    target = intervention.target
    model, tokenizer = load_model_and_tokenizer(target.model, target.dtype, "cpu", trust_remote_code)
    write_into_weights(model, intervention)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    return intervention


def _intervention(source: Path, task: str | None) -> Intervention:
    if (source / CONFIG).is_file():
        return Intervention.best_of(Study.open(source), task)
    if task is not None:
        raise ApmaeError(f"{source} is no study, so it has no task {task}")
    return Intervention.load(source)
