"""Write a toy model's model card: `python -m experiments.toy_models.card java-fim-4m`.

Its figures are measured on packages that the toy model never saw. That needs no training, just what the
repository holds: the weights, the tokenizer and `training.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jinja2
import typer

from apmae.common.command import one_line_errors
from apmae.study.config import CorpusConfig
from apmae.target_model import Target
from experiments.toy_models.evaluate import LENGTH_TOKENS, accuracies
from experiments.toy_models.export import HELD_OUT, Training
from experiments.toy_models.files import Files, read_files
from experiments.toy_models.sizes import HERE, ROW_TOKENS, SEED, TOY_MODELS, ToyModel, toy_model_named
from experiments.toy_models.train import FIM_RATE, FIRST_TOKEN_WEIGHT, load_tokenizer, make_rows, mean_loss

CARD = "README.md"
TEMPLATE = "model_card.md.j2"
LOSS_ROWS = 512


def model_card(toy_model: ToyModel, files: Files, directory: Path, per_task: int) -> str:
    """The card of the toy model in `directory`, with figures measured on held-out files.

    Raises:
        ApmaeError: no toy model was exported there.
    """
    training = Training.of(directory)
    tokenizer = load_tokenizer(directory)
    target = Target.load(str(directory))
    losses = {
        name: mean_loss(
            target.model, make_rows(files.held_out, tokenizer, rate), LOSS_ROWS, toy_model.batch_rows
        )
        for name, rate in (("causal", 0.0), ("fim", 1.0))
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(TEMPLATE).render(
        toy_model=toy_model,
        parameters=target.model.num_parameters(),
        vocabulary=tokenizer.get_vocab_size(),
        row_tokens=ROW_TOKENS,
        length_tokens=LENGTH_TOKENS,
        fim_rate=FIM_RATE,
        first_token_weight=FIRST_TOKEN_WEIGHT,
        training=training,
        held_out_packages=len((directory / HELD_OUT).read_text(encoding="utf-8").split()),
        tokens=toy_model.steps * toy_model.batch_rows * ROW_TOKENS,
        measured_on=files.description,
        losses=losses,
        loss_rows=LOSS_ROWS,
        tasks=accuracies(target, files.held_out, per_task, SEED),
    )


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TOY_MODELS)}.")],
    directory: Annotated[Path | None, typer.Option(help="Default: experiments/toy_models/NAME.")] = None,
    per_task: Annotated[int, typer.Option(help="Holes per task to measure accuracy on.")] = 500,
) -> None:
    """Measure a toy model and write its model card."""
    toy_model = toy_model_named(name)
    directory = directory or HERE / name
    card = model_card(toy_model, read_files(CorpusConfig(), SEED), directory, per_task)
    (directory / CARD).write_text(card, encoding="utf-8")
    typer.echo(f"{directory / CARD}")


if __name__ == "__main__":
    with one_line_errors():
        typer.run(main)
