"""Write a trained organism for use: `python -m organisms.export java-fim-4m`.

Into `organisms/NAME/`: bfloat16 safetensors, the tokenizer, the list of held-out packages (for
`corpus.groups_file`), and the model card with the figures that this command measures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jinja2
import torch
import typer
from tokenizers import Tokenizer
from transformers import Starcoder2ForCausalLM

from apmae.config import CorpusConfig
from apmae.errors import ApmaeError
from apmae.target import Target
from organisms import command
from organisms.evaluate import LENGTH_TOKENS, accuracies
from organisms.files import Files, read_files
from organisms.sizes import ORGANISMS, ROW_TOKENS, SEED, Organism, organism_named
from organisms.tokenizer import pretrained
from organisms.train import (
    CHECKPOINT,
    FIM_RATE,
    FIRST_TOKEN_WEIGHT,
    load_tokenizer,
    make_optimizers,
    make_rows,
    mean_loss,
    restore,
)

HERE = Path(__file__).parent
CARD = "README.md"
HELD_OUT = "held_out_packages.txt"
LOSS_ROWS = 512


def export(organism: Organism, files: Files, work: Path, directory: Path, per_task: int) -> None:
    """Write a trained organism's weights, tokenizer, held-out packages and card into `directory`.

    Raises:
        ApmaeError: the work directory holds no finished training.
    """
    tokenizer = load_tokenizer(work)
    core_seconds = export_model(organism, tokenizer, work / CHECKPOINT, directory)
    packages = sorted({file.group for file in files.held_out})
    (directory / HELD_OUT).write_text("\n".join(packages) + "\n", encoding="utf-8")
    card = model_card(organism, files, tokenizer, Target.load(str(directory)), core_seconds, per_task)
    (directory / CARD).write_text(card, encoding="utf-8")


def export_model(organism: Organism, tokenizer: Tokenizer, checkpoint: Path, directory: Path) -> float:
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


def model_card(
    organism: Organism, files: Files, tokenizer: Tokenizer, target: Target, core_seconds: float, per_task: int
) -> str:
    """The card, with figures measured on held-out files."""
    losses = {
        name: mean_loss(
            target.model, make_rows(files.held_out, tokenizer, rate), LOSS_ROWS, organism.batch_rows
        )
        for name, rate in (("causal", 0.0), ("fim", 1.0))
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template("model_card.md.j2").render(
        organism=organism,
        parameters=target.model.num_parameters(),
        vocabulary=tokenizer.get_vocab_size(),
        row_tokens=ROW_TOKENS,
        length_tokens=LENGTH_TOKENS,
        fim_rate=FIM_RATE,
        first_token_weight=FIRST_TOKEN_WEIGHT,
        files=files,
        held_out_packages=len({file.group for file in files.held_out}),
        tokens=organism.steps * organism.batch_rows * ROW_TOKENS,
        core_hours=core_seconds / 3600,
        losses=losses,
        loss_rows=LOSS_ROWS,
        tasks=accuracies(target, files.held_out, per_task, SEED),
    )


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(ORGANISMS)}.")],
    work: Annotated[
        Path | None, typer.Option(help="Where it was trained; default: runs/organisms/NAME.")
    ] = None,
    directory: Annotated[Path | None, typer.Option(help="Where to write; default: organisms/NAME.")] = None,
    per_task: Annotated[int, typer.Option(help="Holes per task to measure accuracy on.")] = 500,
) -> None:
    """Export a trained organism and measure it on packages that it never saw."""
    organism = organism_named(name)
    work = work or Path("runs/organisms") / name
    directory = directory or HERE / name
    export(organism, read_files(CorpusConfig(), SEED), work, directory, per_task)
    typer.echo(f"{directory / CARD}")


if __name__ == "__main__":
    command.run(main)
