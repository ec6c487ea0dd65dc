"""Tiny target models: random weights, or fitted to a corpus for a part."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from apmae.prompts.fim import FIM_FAMILIES
from apmae.target_model import Target
from experiments.toy_models.sizes import ToyModel
from helpers.corpora import write_corpus
from helpers.tokenizers import byte_level_tokenizer

VOCABULARY = 512
SENTINELS = FIM_FAMILIES["starcoder"].sentinels

MINIATURE = ToyModel(
    "miniature",
    n_layers=2,
    n_heads=4,
    n_key_value_heads=2,
    hidden_size=32,
    intermediate_size=64,
    steps=6,
    batch_rows=2,
)
"""A toy model so small that it trains in a second."""


def tiny_llama(seed=0, **overrides):
    """A Llama of 3 layers x 4 query heads over 2 key-value heads, with its own random weights."""
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **overrides})).eval()


def corpus_text(corpus):
    """All Java of a corpus's directory."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(corpus.rglob("*.java")))


def filling_target(corpus):
    """The tiny Llama with a tokenizer of the corpus that has StarCoder's sentinels."""
    tokenizer = byte_level_tokenizer(corpus_text(corpus))
    tokenizer.add_special_tokens({"additional_special_tokens": SENTINELS})
    return Target(tiny_llama(vocab_size=len(tokenizer)), tokenizer, "filling")


def write_target(directory, corpus):
    """A Llama with random weights but for its last layer, which is fitted to the corpus.

    Random weights alone would never be correct, and a study needs correct completions and incorrect ones.
    """
    text = corpus_text(corpus)
    tokenizer = byte_level_tokenizer(text)
    model = tiny_llama(tie_word_embeddings=False)
    ids = torch.tensor(tokenizer(text)["input_ids"])
    windows = ids[: len(ids) // 64 * 64].view(-1, 64)
    with torch.inference_mode():
        hidden = model.model(windows).last_hidden_state[:, :-1].flatten(0, 1)
    following = torch.nn.functional.one_hot(windows[:, 1:].flatten(), model.config.vocab_size).float()
    gram = hidden.T @ hidden + 1e-2 * torch.eye(hidden.shape[1])
    model.lm_head.weight.data = torch.linalg.solve(gram, hidden.T @ following).T.contiguous()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def write_parts(root, **sizes):
    """A corpus and a target fitted to it: the directories of (target, corpus)."""
    write_corpus(root / "corpus", **sizes)
    write_target(root / "target", root / "corpus")
    return root / "target", root / "corpus"
