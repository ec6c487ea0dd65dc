"""Fill-in-the-middle prompts (Bavarian et al. 2022, section 3), in the model's own sentinel tokens.

`FIM_FAMILIES` says what a prompt of each family looks like; `docs/prompt-formats.md` shows the same
table with its sources. A tokenizer belongs to the first family whose sentinels are all among its
*added tokens*, which are matched whole and never merged from text. Whether they are flagged
special does not matter (Qwen2.5-Coder's, DeepSeek-Coder's and CodeGemma's are not); an entry of the
ordinary vocabulary that only has such a name is no sentinel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from apmae.prompts.documents import Document, Prompt, Skip, hole_token
from apmae.prompts.spans import Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Side(Enum):
    """The text on one side of the hole."""

    LEFT = "left"
    RIGHT = "right"


class FimFamily(NamedTuple):
    """Models that share a prompt layout: sentinels by name, and where the two sides stand."""

    layout: tuple[str | Side, ...]
    models: str

    @property
    def sentinels(self) -> list[str]:
        """Names of the sentinels, in the prompt's order."""
        return [part for part in self.layout if isinstance(part, str)]


FIM_FAMILIES = {
    "starcoder": FimFamily(
        ("<fim_prefix>", Side.LEFT, "<fim_suffix>", Side.RIGHT, "<fim_middle>"),
        "StarCoder, StarCoder2, Granite-Code, CodeQwen1.5",
    ),
    "santacoder": FimFamily(
        ("<fim-prefix>", Side.LEFT, "<fim-suffix>", Side.RIGHT, "<fim-middle>"),
        "SantaCoder",
    ),
    "code-llama": FimFamily(
        ("▁<PRE>", Side.LEFT, "▁<SUF>", Side.RIGHT, "▁<MID>"),
        "Code Llama 7B and 13B",
    ),
    "deepseek-coder": FimFamily(
        ("<｜fim▁begin｜>", Side.LEFT, "<｜fim▁hole｜>", Side.RIGHT, "<｜fim▁end｜>"),  # noqa: RUF001
        "DeepSeek-Coder, DeepSeek-Coder-V2",
    ),
    "qwen-coder": FimFamily(
        ("<|fim_prefix|>", Side.LEFT, "<|fim_suffix|>", Side.RIGHT, "<|fim_middle|>"),
        "Qwen2.5-Coder, Qwen3-Coder, CodeGemma",
    ),
    "codestral": FimFamily(
        ("[SUFFIX]", Side.RIGHT, "[PREFIX]", Side.LEFT),
        "Codestral",
    ),
}

SENTINELS = frozenset(name for family in FIM_FAMILIES.values() for name in family.sentinels)

Layout: TypeAlias = tuple[int | Side, ...]
"""A prompt's parts in order: sentinel token ids, and the two sides of the hole."""


def fim_layout(tokenizer: PreTrainedTokenizerBase) -> Layout | None:
    """The layout of the first family whose sentinels the tokenizer has, None where there is none."""
    added = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    for family in FIM_FAMILIES.values():
        if all(name in added for name in family.sentinels):
            return tuple(added[part] if isinstance(part, str) else part for part in family.layout)
    return None


def fim_prompt(
    document: Document,
    span: Span,
    length_tokens: int,
    layout: Layout,
    encode: Callable[[str], list[int]],
) -> Prompt | Skip:
    """The sentinels, and half and half of what is left and right of the hole.

    Where one side is short, the other gets its rest. Tokens that cross an edge of the hole are cut there
    and tokenized anew by `encode`; the true tokens are those of the hole's own text.

    A layout that ends with the left side has the model go on where that side ends, so the hole has to
    start where a token starts, as in a causal prompt.
    """
    start, left = span.start, document.before(span.start, encode)
    if layout[-1] is Side.LEFT:
        index = hole_token(document, span)
        if index is None:
            return Skip.STRADDLES_TOKEN
        start, left = document.starts[index], [*document.token_ids[:index]]
    right = document.after(span.end, encode)
    n_sentinels = sum(not isinstance(part, Side) for part in layout)
    sides = _window(left, right, length_tokens - n_sentinels)
    if sides is None:
        return Skip.TOO_FEW_TOKENS
    parts = (sides[part] if isinstance(part, Side) else [part] for part in layout)
    return Prompt(tuple(chain.from_iterable(parts)), tuple(encode(document.text[start : span.end])))


def places_of_sides(input_ids: Sequence[int], layout: Layout) -> dict[Side, slice]:
    """Where the two sides of the hole stand in a prompt."""
    sentinels = [part for part in layout if not isinstance(part, Side)]
    at = {part: input_ids.index(part) for part in sentinels}
    places = {}
    for number, part in enumerate(layout):
        if isinstance(part, Side):
            before, after = layout[:number], layout[number + 1 :]
            start = next((at[each] + 1 for each in reversed(before) if not isinstance(each, Side)), 0)
            stop = next((at[each] for each in after if not isinstance(each, Side)), len(input_ids))
            places[part] = slice(start, stop)
    return places


def _window(left: list[int], right: list[int], budget: int) -> dict[Side, list[int]] | None:
    n_left = max(min(len(left), budget // 2), budget - len(right))
    if n_left > len(left):
        return None
    return {Side.LEFT: left[len(left) - n_left :], Side.RIGHT: right[: budget - n_left]}
