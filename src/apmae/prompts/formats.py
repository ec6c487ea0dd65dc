"""Prompts of a fixed number of tokens, made from holes in a text.

*Causal*: the tokens left of the hole, with the token boundaries of the whole text. The hole has to
start where a token starts; a token may carry the whitespace before the hole (`" foo"`).

*Fill-in-the-middle*: what is left and right of the hole, between the model's own sentinels (`fim`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from apmae.common.errors import ApmaeError
from apmae.prompts.documents import Document, Prompt, Skip, hole_token, tokens_of_hole
from apmae.prompts.fim import FIM_FAMILIES, Side, fim_layout, fim_prompt, places_of_sides
from apmae.prompts.spans import Span
from apmae.prompts.tokenization import TextTokenizer, leading_ids, plain_ids
from apmae.vocabulary import CorrectOutcome, PromptFormat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


LONGEST_HOLE = 32
"""Tokens of a hole that has to be completed as a whole; longer ones are hardly ever, and cost most."""


class PromptFormatter:
    """Makes prompts of one format and length with one tokenizer.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        requested: the format, see `choose_format`.
        length_tokens: tokens of every prompt, special ones included.
        outcome: which of a hole's tokens a correct completion has: its first one, or all.

    Raises:
        ApmaeError: the tokenizer is not fast, or `fim` is asked of one without sentinels.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        requested: PromptFormat,
        length_tokens: int,
        outcome: CorrectOutcome = "first_token",
    ) -> None:
        self.outcome = outcome
        self.format = choose_format(tokenizer, requested)
        self.length_tokens = length_tokens
        self.leading_ids = leading_ids(tokenizer)
        self._layout = fim_layout(tokenizer)
        self._vocabulary = plain_ids(tokenizer)
        self._text = TextTokenizer(tokenizer)

    def of_length(self, length_tokens: int) -> PromptFormatter:
        """The same for prompts of another length."""
        other = copy(self)
        other.length_tokens = length_tokens
        return other

    @property
    def context_tokens(self) -> int:
        """Tokens of a prompt that are no leading ones."""
        return self.length_tokens - len(self.leading_ids)

    def tokenize(self, text: str) -> Document:
        """Tokenize a whole text, once for all of its holes."""
        return self._text.document(text)

    def prompt(self, document: Document, span: Span) -> Prompt | Skip:
        """The prompt whose next token is the first token of the hole, or why there is none.

        Its true tokens are those that a correct completion has.
        """
        length_tokens = self.context_tokens
        if self.format == "causal":
            made = causal_prompt(document, span, length_tokens)
        else:
            assert self._layout
            made = fim_prompt(document, span, length_tokens, self._layout, self._text.piece)
        if isinstance(made, Skip):
            return made
        true_ids = self.counted(made.true_ids)
        if isinstance(true_ids, Skip):
            return true_ids
        return Prompt((*self.leading_ids, *made.input_ids), true_ids)

    def replaced(self, document: Document, span: Span) -> slice:
        """The characters of the text that a completion of a hole of a prompt stands in for."""
        first = hole_token(document, span)
        if self.format == "causal":
            assert first is not None
            last = first + len(tokens_of_hole(document, span, first)) - 1
            return slice(document.starts[first], document.ends[last])
        assert self._layout
        if self._layout[-1] is Side.LEFT:
            assert first is not None
            return slice(document.starts[first], span.end)
        return slice(span.start, span.end)

    def counted(self, hole_ids: Sequence[int]) -> tuple[int, ...] | Skip:
        """Those of a hole's tokens that a correct completion has."""
        if self.outcome == "first_token":
            return (hole_ids[0],)
        return Skip.TOO_LONG if len(hole_ids) > LONGEST_HOLE else tuple(hole_ids)

    def places_of_sides(self, input_ids: Sequence[int]) -> dict[Side, slice]:
        """Where what is left and right of the hole stands in a fill-in-the-middle prompt."""
        assert self.format == "fim" and self._layout
        return places_of_sides(input_ids, self._layout)

    def own_tokens(self, document: Document, span: Span) -> list[int]:
        """The tokens of a hole's text by itself, as a model that fills it in writes them."""
        return self._text.piece(document.text[span.start : span.end])

    def noise(self, generator: np.random.Generator) -> Prompt:
        """A prompt of the task `noise`: no text, no sentinels, no next token."""
        return noise_prompt(self._vocabulary, self.length_tokens, generator)


def choose_format(tokenizer: PreTrainedTokenizerBase, requested: PromptFormat) -> Literal["causal", "fim"]:
    """`auto` is `fim` where the tokenizer has a known family's sentinels, else `causal`.

    Raises:
        ApmaeError: the tokenizer is not fast, or `fim` is asked of one without sentinels.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ApmaeError(
            f"{type(tokenizer).__name__} is no fast tokenizer, so it gives no positions in the text"
        )
    has_sentinels = fim_layout(tokenizer) is not None
    if requested == "fim" and not has_sentinels:
        raise ApmaeError(
            f"the target's tokenizer has no sentinels of {' or '.join(FIM_FAMILIES)}; "
            "set prompts.format: causal"
        )
    if requested == "auto":
        return "fim" if has_sentinels else "causal"
    return requested


def hole_sentinel(tokenizer: PreTrainedTokenizerBase, requested: PromptFormat) -> int | None:
    """The sentinel that follows what is left of the hole; None where prompts end at the hole."""
    if requested == "causal" or choose_format(tokenizer, requested) == "causal":
        return None
    layout = fim_layout(tokenizer)
    assert layout is not None
    following = layout[layout.index(Side.LEFT) + 1 :]
    return next((part for part in following if not isinstance(part, Side)), None)


def tokens_before_hole(input_ids: NDArray[Any], sentinel: int | None) -> NDArray[np.int32]:
    """The last token left of the hole and the one before it: (prompts, 2).

    Args:
        input_ids: (prompts, tokens).
        sentinel: see `hole_sentinel`; of a prompt without it, such as noise, the last two tokens.
    """
    ends = np.full(len(input_ids), input_ids.shape[1])
    if sentinel is not None:
        at = input_ids == sentinel
        ends = np.where(at.any(1), at.argmax(1), ends)
    places = ends[:, None] - np.array([1, 2])
    return np.take_along_axis(input_ids, places, axis=1).astype(np.int32)


def causal_prompt(document: Document, span: Span, length_tokens: int) -> Prompt | Skip:
    """The tokens left of the hole; the true ones are those that it starts in, ends in, and between."""
    index = hole_token(document, span)
    if index is None:
        return Skip.STRADDLES_TOKEN
    first = index - length_tokens
    if first < 0:
        return Skip.TOO_FEW_TOKENS
    return Prompt(tuple(document.token_ids[first:index]), tokens_of_hole(document, span, index))


def noise_prompt(vocabulary: Sequence[int], length_tokens: int, generator: np.random.Generator) -> Prompt:
    """Tokens drawn uniformly from `vocabulary` (paper section 5.1, "Baselines")."""
    drawn = generator.integers(len(vocabulary), size=length_tokens)
    return Prompt(tuple(vocabulary[index] for index in drawn), ())
