"""The prompt of a hole, in the format and length of studies, and its tokens in writing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apmae.common.errors import ApmaeError
from apmae.prompts import Document, PromptFormatter, Skip, Span
from apmae.prompts.tokenization import token_texts
from apmae.viewer.holes import Hole
from apmae.vocabulary import PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FIM_SENTINELS = 3
"""Most sentinel tokens of a fill-in-the-middle prompt."""


@dataclass(frozen=True)
class HolePrompt:
    """A prompt whose next token is the first one of the hole's text.

    Attributes:
        format: `causal` or `fim`.
        input_ids: as in a study's prompts.
        true_ids: the hole's tokens, as a completion of the whole hole has them; of a hole of more than 32 the
            first one alone.
        tokens: the text of every token of the prompt, see `token_texts`.
    """

    hole: Hole
    format: str
    input_ids: tuple[int, ...]
    true_ids: tuple[int, ...]
    tokens: tuple[str, ...]


def hole_prompt(
    hole: Hole, tokenizer: PreTrainedTokenizerBase, requested: PromptFormat, length_tokens: int
) -> HolePrompt:
    """The prompt of a hole: `length_tokens` long, or as long as the file's text allows.

    Raises:
        ApmaeError: the hole starts within a token, there is no text for a prompt, or the tokenizer
            does not do the format.
    """
    formatter = PromptFormatter(tokenizer, requested, length_tokens, "whole_hole")
    document = formatter.tokenize(hole.source)
    available = len(formatter.leading_ids) + _text_tokens(document, hole.span, formatter.format)
    if available < length_tokens:
        formatter = formatter.of_length(available)
    made = formatter.prompt(document, hole.span)
    if made is Skip.TOO_LONG:
        first_token = PromptFormatter(tokenizer, requested, formatter.length_tokens)
        made = first_token.prompt(document, hole.span)
    if made is Skip.STRADDLES_TOKEN:
        raise ApmaeError(_within_a_token(formatter, document, hole))
    if isinstance(made, Skip):
        raise ApmaeError(f"{hole.path}:{hole.line}: no token stands before the hole; name a later line")
    tokens = token_texts(tokenizer, made.input_ids)
    return HolePrompt(hole, formatter.format, made.input_ids, made.true_ids, tokens)


def _text_tokens(document: Document, span: Span, made_format: str) -> int:
    """Tokens of text that a prompt can be made of; never so few that a prompt has no room for text."""
    before = bisect_right(document.ends, span.start)
    if made_format == "causal":
        return max(before, 1)
    after = len(document.starts) - bisect_left(document.starts, span.end)
    return max(before + after, FIM_SENTINELS + 1)


def _within_a_token(formatter: PromptFormatter, document: Document, hole: Hole) -> str:
    def starts_token(position: int) -> bool:
        if hole.source[position].isspace():
            return False
        place = Span(hole.span.task, position, hole.span.end)
        return formatter.prompt(document, place) is not Skip.STRADDLES_TOKEN

    here = f"{hole.path}:{hole.line}:{hole.column} is within a token"
    by_distance = sorted(range(hole.line_start, hole.span.end), key=lambda at: abs(at - hole.span.start))
    nearest = next(filter(starts_token, by_distance), None)
    if nearest is None:
        return f"{here}, and no token starts on this line; name another one"
    return f"{here}; the nearest one starts at column {nearest - hole.line_start + 1}"
