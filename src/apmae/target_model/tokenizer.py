"""The tokenizer of a target, which must split text as its own `tokenizer.json` does."""

from __future__ import annotations

import warnings
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from apmae.common.errors import ApmaeError, ApmaeWarning
from apmae.target_model.source import Source, local_file

PROBE = (
    "package a.b;\n\n\tpublic static int addAll1234(List<String[]> it) {\n"
    "        return it.size() + 10_000 * 3.14e-7;"
    "  // naïve café 日本語 ½ 😀\r\n    }\n\n\n  if (\"it's\" != don't && x<=y>>=2) { }   \n#include <a>\n"
)
"""Text on which tokenizers differ: digits, blanks and line ends in a row, signs, marks, other scripts."""


def load_tokenizer(source: Source, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Load a tokenizer; one that its class builds otherwise than its file says is taken from the file.

    Transformers 5 rebuilds some tokenizers (of Llama, GPT-2 and others) from their vocabulary with their
    class's own normaliser and pre-tokeniser. Code models with others of their own would read other tokens.

    Raises:
        ApmaeError: Transformers does not read the file as it is either.
    """
    location = source.location
    gguf = {"gguf_file": source.gguf_file} if source.gguf_file else {}
    tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code, **gguf)
    path = None if gguf else local_file(location, "tokenizer.json")
    if path is None or _is_of_remote_code(tokenizer) or _splits_like(tokenizer, path):
        return tokenizer
    as_in_file = PreTrainedTokenizerFast.from_pretrained(location)
    if not _splits_like(as_in_file, path):
        raise ApmaeError(f"Transformers splits text otherwise than its {path.name} does")
    warnings.warn(
        f"target.model {location!r}: {type(tokenizer).__name__} splits text otherwise than {path.name} does, "
        "which is used instead",
        ApmaeWarning,
        stacklevel=2,
    )
    return as_in_file


def _is_of_remote_code(tokenizer: PreTrainedTokenizerBase) -> bool:
    return not type(tokenizer).__module__.startswith("transformers.")


def _splits_like(tokenizer: PreTrainedTokenizerBase, file: Path) -> bool:
    reference = Tokenizer.from_file(str(file))
    reference.no_truncation()
    reference.no_padding()
    try:
        own: list[int] = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    except Exception:  # as tokenizers raises where the class's unknown token is not in the file
        return False
    return own == reference.encode(PROBE, add_special_tokens=False).ids
