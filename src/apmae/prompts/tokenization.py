"""Text as a tokenizer's plain tokens, with their positions.

Sentinels and special tokens never come from text: where a source file spells one's name, the name is
tokenized like any other text.

A SentencePiece tokenizer puts a space before a text. A whole file gets it, as it did in the model's
training; a piece of a file does not, since the space would stand in the middle of a line (Rozière et
al. 2023, "Code Llama", section 2.3, suppress it likewise).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from apmae.prompts.documents import Document
from apmae.prompts.fim import SENTINELS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTER_BYTES = 4
"""Most bytes, and so most tokens, of one character in UTF-8."""
REPLACEMENT = "\ufffd"
"""What bytes that are no whole character decode to."""


class TextTokenizer:
    """Maps text to tokens and nothing else: no special tokens, no truncation, no padding."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        settings = json.loads(tokenizer.backend_tokenizer.to_str())
        # A post-processor may trim whitespace off the positions, and truncation would lose text.
        settings |= {"post_processor": None, "truncation": None, "padding": None}
        for token in settings["added_tokens"]:
            token["special"] |= token["content"] in SENTINELS
        self._whole = _backend(settings)
        for step in ("normalizer", "pre_tokenizer"):
            if settings[step]:
                settings[step] = _without_prefix_space(settings[step])
        self._piece = _backend(settings)

    def document(self, text: str) -> Document:
        """Tokenize a whole text, once for all of its holes."""
        encoding = self._whole.encode(text, add_special_tokens=False)
        offsets = encoding.offsets
        if len(offsets) > 1 and offsets[0] != offsets[1] and offsets[1][0] == 0:
            offsets[0] = (0, 0)  # the space before the text, given the position of its first character
        starts, ends = zip(*offsets, strict=True) if offsets else ((), ())
        return Document(text, encoding.ids, starts, ends)

    def piece(self, text: str) -> list[int]:
        """Tokenize a text that stands in the middle of another."""
        ids: list[int] = self._piece.encode(text, add_special_tokens=False).ids if text else []
        return ids


def plain_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The vocabulary without special tokens and sentinels, in ascending order."""
    special = {
        index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in SENTINELS
    }
    return sorted(set(tokenizer.get_vocab().values()) - special - set(tokenizer.all_special_ids))


def leading_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer by default puts before a text: its BOS token, or nothing."""
    first_of_text = tokenizer("x", add_special_tokens=False)["input_ids"][0]
    return list(takewhile(lambda token_id: token_id != first_of_text, tokenizer("x")["input_ids"]))


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> tuple[str, ...]:
    """The text of every token, as it stands in the middle of a text.

    A character whose bytes are several tokens stands at the first of them, the others are empty.
    """
    # Behind another token, because some tokenizers drop the space that a text starts with.
    anchor = tokenizer("x", add_special_tokens=False)["input_ids"]
    anchor_text = tokenizer.decode(anchor, clean_up_tokenization_spaces=False)

    def text_of(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode([*anchor, *ids], clean_up_tokenization_spaces=False)
        return text.removeprefix(anchor_text)

    texts: list[str] = []
    while len(texts) < len(token_ids):
        rest = token_ids[len(texts) : len(texts) + CHARACTER_BYTES]
        longer = [text_of(rest[:count]) for count in range(1, len(rest) + 1)]
        further = next((index for index, text in enumerate(longer) if REPLACEMENT not in text), 0)
        texts += [longer[further], *[""] * further]
    return tuple(texts)


def _backend(settings: dict[str, Any]) -> Tokenizer:
    backend = Tokenizer.from_str(json.dumps(settings))
    backend.encode_special_tokens = True
    return backend


def _without_prefix_space(step: dict[str, Any]) -> dict[str, Any] | None:
    """A normalizer or pre-tokenizer, as `tokenizers` serialises it, that puts nothing before a text."""
    match step["type"]:
        case "Prepend":
            return None
        case "Metaspace":
            return {**step, "prepend_scheme": "never"}
        case "ByteLevel":
            return {**step, "add_prefix_space": False}
        case "Sequence":
            key = "normalizers" if "normalizers" in step else "pretokenizers"
            kept = (_without_prefix_space(part) for part in step[key])
            return {**step, key: [part for part in kept if part is not None]}
    return step
