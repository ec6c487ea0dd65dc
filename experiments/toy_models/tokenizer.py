"""A byte-level BPE tokenizer with StarCoder2's special tokens, whose tokens stay within lexemes.

Where a token may hold a blank and the word behind it, or two signs (` Long`, `);`), text that is cut before
the word or between the signs ends in tokens that whole text never has there. A small model knows nothing of
what follows those (docs/lab-notes.md). Here a cut between lexemes changes no token: with filling in, the
tokens on the left and the one to predict are those of the whole text.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"
PREFIX = "<fim_prefix>"
MIDDLE = "<fim_middle>"
SUFFIX = "<fim_suffix>"
PAD = "<fim_pad>"
SPECIAL = [END, PREFIX, MIDDLE, SUFFIX, PAD]
VOCABULARY = 8192
LEXEME = r"\w+|\n|[^\S\n]+|[-+*/%&|^!=<>]+|[^\w\s]"
"""A word, a line break, blanks, an operator or one other sign; together they are the whole text."""


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Learn the merges within lexemes from `texts`; every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LEXEME), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def pretrained(tokenizer: Tokenizer, model_max_length: int) -> PreTrainedTokenizerFast:
    """The same tokenizer in the form that Transformers saves and loads."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        model_max_length=model_max_length,
    )
