"""The page: index.html and its pictures.

The page carries every head's log probabilities in 16 bits, from the head's lowest to 0, so that it can
draw any head and name any weight: to 1% for a head whose lowest log probability is above -1300.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from apmae.autoencoder.patterns import ABSOLUTE_FLOOR, scale
from apmae.common.atomic import replacing
from apmae.common.errors import ApmaeError
from apmae.figures import style
from apmae.figures.labels import label, written
from apmae.figures.templates import page_style, page_templates, source_hash
from apmae.figures.wording import head_name
from apmae.target_model import Head
from apmae.viewer.drawings import contact_sheet, one_head
from apmae.viewer.prompt_view import PromptView
from apmae.vocabulary import Scaling

INDEX = "index.html"
SHEET = "heads.png"
HEAD_PICTURE = re.compile(r"L\d+H\d+\.png")
STEPS = 65_534
"""Steps between a head's lowest log probability, code 1, and 0, code 65,535; code 0 is no weight."""

SCALE_NAMES: dict[Scaling, str] = {
    "absolute": "Attention, on one log scale: 0 is a probability up to 1e-7, 1 is 1",
    "min_normalized": "Attention, on the head's own log scale: 0 is its lowest probability, 1 is 1",
    "probability": "Attention (probability)",
}


def write_page(view: PromptView, chosen: Sequence[Head], scaling: Scaling, directory: Path) -> Path:
    """Write the page, the contact sheet and a picture of every chosen head; return the page's path.

    Pictures of heads that lie there from an earlier call are removed: they may be another prompt's.

    Raises:
        ApmaeError: the target does not have a chosen head.
    """
    _refuse_unknown(view, chosen)
    patterns = scale(view.log_probs, scaling)
    labels = [label(text) for text in view.prompt.tokens]
    directory.mkdir(parents=True, exist_ok=True)
    for earlier in directory.iterdir():
        if HEAD_PICTURE.fullmatch(earlier.name):
            earlier.unlink()
    _write_picture(directory / SHEET, contact_sheet(patterns, _name(view)))
    for layer, head in chosen:
        name = f"Head {head_name(layer, head)}, {_name(view)}"
        figure = one_head(patterns[layer, head].numpy(), labels, name, SCALE_NAMES[scaling])
        _write_picture(directory / head_picture((layer, head)), figure)
    with replacing(directory / INDEX) as path:
        path.write_text(render(view, chosen, scaling), encoding="utf-8")
    return directory / INDEX


def head_picture(head: Head) -> str:
    """File name of a head's picture."""
    return f"{head_name(*head)}.png"


def render(view: PromptView, chosen: Sequence[Head], scaling: Scaling) -> str:
    """The page as HTML; every text in it is escaped, and only its own script and style are let in."""
    here = Path(__file__).parent
    environment = page_templates(here)
    environment.filters |= {"label": label, "written": written}
    script = (here / "page.js").read_text(encoding="utf-8")
    sheet = page_style(here / "page.css")
    return environment.get_template("template.html").render(
        view=view,
        chosen=[(head_name(*head), head_picture(head), _index(view, head)) for head in chosen],
        sheet=SHEET,
        scale_name=SCALE_NAMES[scaling],
        data=page_data(view, chosen, scaling),
        script=Markup(script),
        style=Markup(sheet),
        script_hash=source_hash(script),
        style_hash=source_hash(sheet),
    )


def page_data(view: PromptView, chosen: Sequence[Head], scaling: Scaling) -> dict[str, Any]:
    """What the page's script needs.

    `codes` are uint16, little-endian: for each head, its lower triangle in row-major order. `floors` are
    the log probabilities of code 1, `ranges` those that the colours take as 0; both by head.
    """
    codes, floors = encode_log_probs(view.log_probs)
    ranges = {"absolute": np.full(len(floors), ABSOLUTE_FLOOR), "min_normalized": floors}
    colours = matplotlib.colormaps[style.PATTERN_COLOURS](np.arange(256), bytes=True)[:, :3]
    first = chosen[0] if chosen else (0, 0)
    return {
        "labels": [label(text) for text in view.prompt.tokens],
        "heads": view.log_probs.shape[1],
        "first": _index(view, first),
        "codes": _base64(codes.astype("<u2")),
        "floors": [float(floor) for floor in floors],
        "ranges": None if scaling == "probability" else [float(low) for low in ranges[scaling]],
        "colours": _base64(colours),
    }


def encode_log_probs(log_probs_LHTT: Tensor) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Codes (L * H, T (T + 1) / 2) uint16, and the log probability (L * H,) that code 1 stands for."""
    tokens = log_probs_LHTT.shape[-1]
    rows, columns = torch.tril_indices(tokens, tokens).unbind()
    values = log_probs_LHTT.flatten(0, 1)[:, rows, columns]
    allowed = values.isfinite()
    floors = values.masked_fill(~allowed, 0).amin(1, keepdim=True)
    floors = floors.where(floors < 0, -1.0)
    codes = ((1 - values / floors) * STEPS).round() + 1
    return codes.masked_fill(~allowed, 0).to(torch.int32).numpy().astype(np.uint16), floors[:, 0].numpy()


def _refuse_unknown(view: PromptView, chosen: Sequence[Head]) -> None:
    layers, heads = view.log_probs.shape[:2]
    for layer, head in chosen:
        if not (0 <= layer < layers and 0 <= head < heads):
            raise ApmaeError(
                f"{view.target} has no head {head_name(layer, head)}: "
                f"{layers} layers of {heads} heads, both from 0"
            )


def _name(view: PromptView) -> str:
    hole = view.prompt.hole
    return f"{view.target} at {hole.path.name}:{hole.line}"


def _index(view: PromptView, head: Head) -> int:
    return head[0] * view.log_probs.shape[1] + head[1]


def _write_picture(path: Path, figure: Figure) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(style.encode(figure, "png"))


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
