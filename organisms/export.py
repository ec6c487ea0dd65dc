"""Write a trained organism for use: `python -m organisms.export java-fim-4m`.

Into `organisms/NAME/`: bfloat16 safetensors, the tokenizer, the list of held-out packages (for
`corpus.groups_file`), and what it was trained on (`training.json`), of which `organisms.card` tells.
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

from apmae.command import one_line_errors
from apmae.config import CorpusConfig
from apmae.errors import ApmaeError
from organisms.files import Files, read_files
from organisms.sizes import HERE, ORGANISMS, ROW_TOKENS, SEED, Organism, organism_named
from organisms.tokenizer import pretrained
from organisms.train import CHECKPOINT, load_tokenizer, make_optimizers, restore

HELD_OUT = "held_out_packages.txt"
TRAINING = "training.json"


@dataclass(frozen=True)
class Training:
    """What an organism was trained on, and for how long.

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
        """Read an exported organism's.

        Raises:
            ApmaeError: no organism was exported there.
        """
        path = directory / TRAINING
        if not path.exists():
            raise ApmaeError(f"{directory} holds no organism: run `python -m organisms.export` first")
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def export(organism: Organism, files: Files, work: Path, directory: Path) -> None:
    """Write a trained organism's weights, tokenizer, held-out packages and training into `directory`.

    Raises:
        ApmaeError: the work directory holds no finished training.
    """
    core_seconds = _export_model(organism, load_tokenizer(work), work / CHECKPOINT, directory)
    packages = sorted({file.group for file in files.held_out})
    (directory / HELD_OUT).write_text("\n".join(packages) + "\n", encoding="utf-8")
    training = Training(files.description, len(files.training), len(files.held_out), round(core_seconds))
    (directory / TRAINING).write_text(json.dumps(asdict(training), indent=2) + "\n", encoding="utf-8")


def _export_model(organism: Organism, tokenizer: Tokenizer, checkpoint: Path, directory: Path) -> float:
    """Write weights and tokenizer; returns the training's CPU seconds.

    Raises:
        ApmaeError: there is no checkpoint, or it is not the last.
    """
    model = Starcoder2ForCausalLM(organism.config(tokenizer))
    step, core_seconds = restore(checkpoint, model, make_optimizers(model))
    if step < organism.steps:
        raise ApmaeError(
            f"{checkpoint} is at step {step} of {organism.steps}: go on with "
            f"`python -m organisms.train {organism.name}`"
        )
    model.to(torch.bfloat16).save_pretrained(directory)
    pretrained(tokenizer, ROW_TOKENS).save_pretrained(directory)
    return core_seconds


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(ORGANISMS)}.")],
    work: Annotated[
        Path | None, typer.Option(help="Where it was trained; default: runs/organisms/NAME.")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Where to write; default: organisms/NAME.")] = None,
) -> None:
    """Export a trained organism."""
    organism = organism_named(name)
    work = work or Path("runs/organisms") / name
    directory = directory or HERE / name
    export(organism, read_files(CorpusConfig(), SEED), work, directory)
    typer.echo(f"{directory}")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
