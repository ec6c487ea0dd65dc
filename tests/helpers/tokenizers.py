"""Small tokenizers of the kinds that code models have, trained on one Java file."""

import json
import re
from functools import cache
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TRAPS = (Path(__file__).parents[1] / "prompts" / "Traps.java").read_text(encoding="utf-8")
BYTE_FALLBACK = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(added=(), *, bos=None, special=True, prefix_space=False):
    """Byte-level BPE, as of StarCoder; its post-processor trims whitespace off the positions."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator([TRAPS], trainer)
    return _wrapped(backend, added, bos, special, [processors.ByteLevel(trim_offsets=True)])


def metaspace(added=(), *, bos=None, special=True, by_normalizer=False):
    """SentencePiece-like BPE with byte fallback and a space put before the text, as of Code Llama.

    The space comes from the Metaspace pre-tokenizer, or, as in older files, from a normalizer.
    """
    vocabulary, merges = _metaspace_bpe()
    backend = Tokenizer(
        models.BPE(dict(vocabulary), list(merges), unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    if by_normalizer:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return _wrapped(backend, added, bos, special, [])


def metaspace_vocabulary_and_merges():
    vocabulary, merges = _metaspace_bpe()
    return dict(vocabulary), list(merges)


def text_of(tokenizer, ids):
    """The text that ids stand for, byte by byte; nothing is stripped, broken characters are U+FFFD."""
    alphabet = {character: byte for byte, character in _byte_characters().items()}
    spelled = bytearray()
    for token in tokenizer.convert_ids_to_tokens(list(ids)):
        if isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel):
            spelled += bytes(alphabet[character] for character in token)
        elif byte := re.fullmatch(r"<0x([0-9A-F]{2})>", token):
            spelled.append(int(byte[1], 16))
        else:
            spelled += token.replace("▁", " ").encode()
    return spelled.decode(errors="replace")


@cache
def _metaspace_bpe():
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    letters = {"▁"} | {character for character in TRAPS if character.isascii()} - {" "}
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(letters), limit_alphabet=len(letters), show_progress=False
    )
    trained.train_from_iterator([TRAPS], trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", *BYTE_FALLBACK, *sorted(model["vocab"], key=model["vocab"].get)]
    return tuple((piece, index) for index, piece in enumerate(pieces)), tuple(map(tuple, model["merges"]))


def _byte_characters():
    """Byte-level BPE's spelling of the bytes: printable ones as themselves, the rest from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + index) for index, byte in enumerate(others)
    }


def _wrapped(backend, added, bos, special, post_processors):
    if bos:
        backend.add_special_tokens([bos])
        template = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
        post_processors = [*post_processors, template]
    backend.add_tokens([AddedToken(name, special=special, normalized=False) for name in added])
    if post_processors:
        backend.post_processor = processors.Sequence(post_processors)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **({"bos_token": bos} if bos else {}))


def byte_level_tokenizer(text, vocabulary=512):
    """A byte-level BPE tokenizer trained on `text`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=sorted(alphabet),
        special_tokens=["<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
