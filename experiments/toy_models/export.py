"""Write a trained toy model for use: `python -m experiments.toy_models.export java-fim-4m`.

Into `experiments/toy_models/NAME/`: bfloat16 safetensors, the tokenizer, the list of held-out packages (for
`corpus.groups_file`), and what it was trained on (`training.json`), of which `card` tells.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from tokenizers import Tokenizer
from transformers import Starcoder2ForCausalLM

from apmae.common.command import one_line_errors
from apmae.common.errors import ApmaeError
from apmae.study.config import CorpusConfig
from apmae.training.checkpoint import CHECKPOINT
from experiments.toy_models.files import Files, read_files
from experiments.toy_models.sizes import HERE, ROW_TOKENS, SEED, TOY_MODELS, ToyModel, toy_model_named
from experiments.toy_models.tokenizer import pretrained
from experiments.toy_models.train import load_tokenizer, make_optimizers, restore

HELD_OUT = "held_out_packages.txt"
TRAINING = "training.json"


@dataclass(frozen=True)
class Training:
    """What a toy model was trained on, and for how long.

    Attributes:
        corpus: the JDK.
        training_files: number of files trained on.
        held_out_files: number of files of held-out packages.
        core_seconds: CPU time.
    """

    corpus: str
    training_files: int
    held_out_files: int
    core_seconds: float

    @classmethod
    def of(cls, directory: Path) -> Training:
        """Read an exported toy model's.

        Raises:
            ApmaeError: no toy model was exported there.
        """
        path = directory / TRAINING
        if not path.exists():
            raise ApmaeError(
                f"{directory} holds no toy model: run `python -m experiments.toy_models.export` first"
            )
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def export(toy_model: ToyModel, files: Files, work: Path, directory: Path) -> None:
    """Write a trained toy model's weights, tokenizer, held-out packages and training into `directory`.

    Raises:
        ApmaeError: the work directory holds no finished training.
    """
    core_seconds = _export_model(toy_model, load_tokenizer(work), work / CHECKPOINT, directory)
    packages = sorted({file.group for file in files.held_out})
    (directory / HELD_OUT).write_text("\n".join(packages) + "\n", encoding="utf-8")
    training = Training(files.description, len(files.training), len(files.held_out), round(core_seconds))
    (directory / TRAINING).write_text(json.dumps(asdict(training), indent=2) + "\n", encoding="utf-8")


def _export_model(toy_model: ToyModel, tokenizer: Tokenizer, checkpoint: Path, directory: Path) -> float:
    """Write weights and tokenizer; returns the training's CPU seconds.

    Raises:
        ApmaeError: there is no checkpoint, or it is not the last.
    """
    model = Starcoder2ForCausalLM(toy_model.config(tokenizer))
    step, core_seconds = restore(checkpoint, model, make_optimizers(model))
    if step < toy_model.steps:
        raise ApmaeError(
            f"{checkpoint} is at step {step} of {toy_model.steps}: go on with "
            f"`python -m experiments.toy_models.train {toy_model.name}`"
        )
    model.to(torch.bfloat16).save_pretrained(directory)
    pretrained(tokenizer, ROW_TOKENS).save_pretrained(directory)
    return core_seconds


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TOY_MODELS)}.")],
    work: Annotated[
        Path | None, typer.Option(help="Where it was trained; default: runs/toy_models/NAME.")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Default: experiments/toy_models/NAME.")] = None,
) -> None:
    """Export a trained toy model."""
    toy_model = toy_model_named(name)
    work = work or Path("runs/toy_models") / name
    directory = directory or HERE / name
    export(toy_model, read_files(CorpusConfig(), SEED), work, directory)
    typer.echo(f"{directory}")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
