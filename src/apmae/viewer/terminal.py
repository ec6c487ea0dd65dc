"""What a target makes of one prompt, for the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from apmae.figures.labels import label, written
from apmae.viewer.prompt_view import PromptView

SHOWN_CHARACTERS = 160
SHOWN_LINES = 2


def summary(view: PromptView) -> Group:
    """The end of the prompt, what came and what should have come, and the most probable tokens."""
    predicted = view.candidates[0]
    lines = [
        Text.assemble((_end_of(view.prompt.tokens), "dim"), (written(view.continuation), "underline")),
        Text(""),
        Text.assemble("true       ", (label(view.truth.text), "bold"), f"  {view.truth.probability:.1%}"),
        Text.assemble(
            "predicted  ",
            (label(predicted.text), "bold"),
            f"  {predicted.probability:.1%}  ",
            _verdict(view.correct),
        ),
        Text.assemble("writes     ", (written(view.written), "bold"), "  ", _verdict(view.writes_hole)),
        Text(f"entropy    {view.entropy_nats:.2f} nats"),
    ]
    table = Table("next token", "probability", box=SIMPLE_HEAD)
    table.columns[1].justify = "right"
    for candidate in view.candidates:
        table.add_row(Text(label(candidate.text)), f"{candidate.probability:.1%}")
    return Group(*lines, table)


def _verdict(correct: bool) -> tuple[str, str]:
    return ("correct", "green") if correct else ("incorrect", "red")


def _end_of(tokens: tuple[str, ...]) -> str:
    lines = "".join(tokens).replace("\r\n", "\n").split("\n")[-SHOWN_LINES:]
    return "\n".join(written(line[-SHOWN_CHARACTERS:]) if line else "" for line in lines)
