"""Prompts of a fixed number of tokens, made from holes in a text.

*Causal*: the tokens left of the hole, with the token boundaries of the whole text. The hole has to
start where a token starts; a token may carry the whitespace before the hole (`" foo"`).

*Fill-in-the-middle* (Bavarian et al. 2022, section 3): `<prefix> left <suffix> right <middle>`. Where
a token crosses an edge of the hole, what of it lies outside is tokenized anew.

`PromptFormatter` is the interface; the functions below it are pure.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from apmae.errors import ApmaeError
from apmae.tasks.spans import Span

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PromptFormat = Literal["causal", "fim"]

RANDOM_SPAN_TOKENS = (3, 10)
"""Shortest and longest hole of the task `random` (paper section 4, "Data")."""


class Prompt(NamedTuple):
    """Exactly `length_tokens` token ids, and the token that comes next; None where there is none."""

    input_ids: tuple[int, ...]
    target_id: int | None


class Skip(StrEnum):
    """Why a hole makes no prompt."""

    STRADDLES_TOKEN = "straddles a token"
    TOO_FEW_TOKENS = "too few tokens"


@dataclass(frozen=True)
class Document:
    """A whole text and its tokens.

    `starts` and `ends` are the tokens' character positions; neither ever falls, and tokens that share
    the bytes of one character share its positions.
    """

    text: str
    token_ids: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]


class FimTokens(NamedTuple):
    """Sentinel token ids of a fill-in-the-middle model, and which side of the hole comes first."""

    prefix: int
    suffix: int
    middle: int
    order: Literal["psm", "spm"] = "psm"


class _FimFamily(NamedTuple):
    prefix: str
    suffix: str
    middle: str


FIM_FAMILIES = {
    "starcoder": _FimFamily("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "santacoder": _FimFamily("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
}


class PromptFormatter:
    """Makes prompts of one format and length with one tokenizer.

    Text is always tokenized as text: a special token's name that stands in a source file does not
    become that token.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        requested: the format, see `choose_format`.
        length_tokens: tokens of every prompt, special ones included.

    Raises:
        ApmaeError: the tokenizer is not fast, or `fim` is asked of one without sentinels.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        requested: Literal["auto", "causal", "fim"],
        length_tokens: int,
    ) -> None:
        self.format = choose_format(tokenizer, requested)
        self.length_tokens = length_tokens
        self.leading_ids = leading_ids(tokenizer)
        self._fim = fim_tokens(tokenizer)
        self._vocabulary = plain_ids(tokenizer)
        self._backend = _plain_backend(tokenizer)

    def tokenize(self, text: str) -> Document:
        """Tokenize a whole text, once for all of its holes."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.offsets else ((), ())
        return Document(text, encoding.ids, starts, ends)

    def prompt(self, document: Document, span: Span) -> Prompt | Skip:
        """The prompt whose next token is the first token of the hole, or why there is none."""
        length_tokens = self.length_tokens - len(self.leading_ids)
        if self.format == "causal":
            made = causal_prompt(document, span, length_tokens)
        else:
            assert self._fim
            made = fim_prompt(document, span, length_tokens, self._fim, self._encode)
        if isinstance(made, Skip):
            return made
        return Prompt((*self.leading_ids, *made.input_ids), made.target_id)

    def noise(self, generator: np.random.Generator) -> Prompt:
        """A prompt of the task `noise`: no text, no sentinels, no next token."""
        return noise_prompt(self._vocabulary, self.length_tokens, generator)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids if text else []
        return ids


def choose_format(
    tokenizer: PreTrainedTokenizerBase, requested: Literal["auto", "causal", "fim"]
) -> PromptFormat:
    """`auto` is `fim` where the tokenizer has a known family's sentinels, else `causal`.

    Raises:
        ApmaeError: the tokenizer is not fast, or `fim` is asked of one without sentinels.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ApmaeError(
            f"{type(tokenizer).__name__} is no fast tokenizer, so it gives no positions in the text"
        )
    has_sentinels = fim_tokens(tokenizer) is not None
    if requested == "fim" and not has_sentinels:
        raise ApmaeError(
            f"the target's tokenizer has no sentinels of {' or '.join(FIM_FAMILIES)}; "
            "set prompts.format: causal"
        )
    if requested == "auto":
        return "fim" if has_sentinels else "causal"
    return requested


def fim_tokens(tokenizer: PreTrainedTokenizerBase) -> FimTokens | None:
    """The sentinels of the first known family whose names the tokenizer has."""
    vocabulary = tokenizer.get_vocab()
    for family in FIM_FAMILIES.values():
        if all(name in vocabulary for name in family):
            return FimTokens(*(vocabulary[name] for name in family))
    return None


def causal_prompt(document: Document, span: Span, length_tokens: int) -> Prompt | Skip:
    """The tokens left of the hole; the target is the token that the hole starts with."""
    index = hole_token(document, span)
    if index is None:
        return Skip.STRADDLES_TOKEN
    first = index - length_tokens
    if first < 0:
        return Skip.TOO_FEW_TOKENS
    return Prompt(tuple(document.token_ids[first:index]), document.token_ids[index])


def fim_prompt(
    document: Document,
    span: Span,
    length_tokens: int,
    fim: FimTokens,
    encode: Callable[[str], list[int]],
) -> Prompt | Skip:
    """The sentinels, and half and half of what is left and right of the hole.

    Where one side is short, the other gets its rest. The target is the first token of the hole's text,
    tokenized on its own.
    """
    left = _tokens_before(document, span.start, encode)
    right = _tokens_after(document, span.end, encode)
    budget = length_tokens - 3
    n_left = max(min(len(left), budget // 2), budget - len(right))
    if n_left > len(left):
        return Skip.TOO_FEW_TOKENS
    left_part = [fim.prefix, *left[len(left) - n_left :]]
    right_part = [fim.suffix, *right[: budget - n_left]]
    halves = left_part + right_part if fim.order == "psm" else right_part + left_part
    target_id = encode(document.text[span.start : span.end])[0]
    return Prompt((*halves, fim.middle), target_id)


def hole_token(document: Document, span: Span) -> int | None:
    """Index of the token that the hole starts with; None where the hole starts within a token.

    Only whitespace may stand in that token before the hole. An `eol` hole's token is the one that the
    line break starts in, after whatever whitespace precedes it.
    """
    index = bisect_right(document.ends, _first_character(document.text, span))
    if index == len(document.ends):
        return None
    before = document.text[document.starts[index] : span.start]
    return None if before.strip() else index


def random_span(document: Document, generator: np.random.Generator) -> Span | None:
    """A hole of the task `random`, 3 to 10 tokens long; None where the text has fewer tokens."""
    shortest, longest = RANDOM_SPAN_TOKENS
    length = int(generator.integers(shortest, longest + 1))
    n_places = len(document.token_ids) - length + 1
    if n_places <= 0:
        return None
    first = int(generator.integers(n_places))
    return Span("random", document.starts[first], document.ends[first + length - 1])


def noise_prompt(vocabulary: Sequence[int], length_tokens: int, generator: np.random.Generator) -> Prompt:
    """Tokens drawn uniformly from `vocabulary` (paper section 5.1, "Baselines")."""
    drawn = generator.integers(len(vocabulary), size=length_tokens)
    return Prompt(tuple(vocabulary[index] for index in drawn), None)


def plain_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The vocabulary without special tokens, in ascending order."""
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted(set(tokenizer.get_vocab().values()) - special - set(tokenizer.all_special_ids))


def leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer by default puts before a text: its BOS token, or nothing."""
    first_of_text = tokenizer("x", add_special_tokens=False)["input_ids"][0]
    return list(takewhile(lambda token_id: token_id != first_of_text, tokenizer("x")["input_ids"]))


def _plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy that maps text to tokens and nothing else.

    A post-processor may trim whitespace off the positions, and truncation would lose text.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = None
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def _first_character(text: str, span: Span) -> int:
    if span.task != "eol":
        return span.start
    return span.end - (2 if text.endswith("\r\n", span.start, span.end) else 1)


def _tokens_before(document: Document, position: int, encode: Callable[[str], list[int]]) -> list[int]:
    count = bisect_right(document.ends, position)
    covered = document.ends[count - 1] if count else 0
    return [*document.token_ids[:count], *encode(document.text[covered:position])]


def _tokens_after(document: Document, position: int, encode: Callable[[str], list[int]]) -> list[int]:
    first = bisect_left(document.starts, position)
    covered = document.starts[first] if first < len(document.starts) else len(document.text)
    return [*encode(document.text[position:covered]), *document.token_ids[first:]]
