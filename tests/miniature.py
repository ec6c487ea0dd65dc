"""A whole study in miniature: generated Java, and a Llama that has learned a little of it."""

import random

import torch
import yaml
from tiny import byte_level_tokenizer, tiny_llama

WORDS = ("count", "total", "name", "index", "value", "size", "label", "offset", "limit", "buffer")
METHOD = """\
    /** Returns the {a} of {b}. */
    public int {a}Of(int {b}, String {c}) {{
        int {a} = {n} + {b} * {m};
        if ({a} > {n} && {c} != null || {b} == {m}) {{
            {a} += {b} - {n};
            System.out.println("{c} is {a}: " + {a});
        }}
        boolean {d} = {flag};
        return {d} ? {a} : {b};
    }}
"""


def written_files(packages=8, files=5, methods=6):
    """Java files in packages, all different: (name, text)."""
    draw = random.Random(0)
    for package in range(packages):
        for number in range(files):
            body = "".join(_method(draw) for _ in range(methods))
            yield f"p{package}/C{number}.java", f"package p{package};\n\nclass C{number} {{\n{body}}}\n"


def write_corpus(directory, **sizes):
    """The same on disk."""
    for name, text in written_files(**sizes):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


def _method(draw):
    a, b, c, d = draw.sample(WORDS, 4)
    flag = draw.choice(("true", "false"))
    return METHOD.format(a=a, b=b, c=c, d=d, n=draw.randint(0, 99), m=draw.randint(2, 9), flag=flag)


def write_target(directory, corpus):
    """A Llama with random weights but for its last layer, which is fitted to the corpus.

    Random weights alone would never be right, and a study needs right completions and wrong ones.
    """
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(corpus.rglob("*.java")))
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


def write_study(path, target, corpus, directory):
    """The study's file: every stage, in seconds."""
    config = {
        "name": "miniature",
        "directory": str(directory),
        "target": {"model": str(target), "dtype": "float32", "device": "cpu", "batch_size": 8},
        "corpus": {"source": "directory", "path": str(corpus)},
        "prompts": {
            "tasks": ["eol", "identifiers", "noise"],
            "per_task": 32,
            "encoder_prompts": 24,
            "length_tokens": 64,
        },
        "encoder": {"size": "tiny", "patch_size": 16},
        "training": {
            "steps": 12,
            "batch_size": 16,
            "prompts_per_round": 8,
            "validate_every_steps": 6,
            "checkpoint_every_steps": 4,
            "precision": "float32",
        },
        "encoding": {"shard_prompts": 16, "precision": "float32"},
        "clustering": {"n_clusters": 3, "processes": 1},
        "prediction": {"folds": 3, "iterations": 20, "processes": 1},
        "intervention": {
            "head_counts": [1, 4],
            "random_draws": 2,
            "prompts_per_outcome": 4,
            "tuning_prompts_per_outcome": 4,
            "greedy_candidates": 3,
            "greedy_heads": 2,
            "side_effect_prompts": 6,
        },
        "report": {"gallery_clusters": 4, "reconstructions": 2},
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
