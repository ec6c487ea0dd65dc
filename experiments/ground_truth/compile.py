"""`python -m experiments.ground_truth.compile`: compile the programs to `models/`; needs `tracr-pypi`.

tracr makes a transformer with a head for each selection of a RASP program. Heads with random weights fill
every layer up to the same number, at random places. What they write is small, so that the program still
works, and not nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tracr.compiler import compiling
from tracr.rasp import rasp

from apmae.common.seeding import numpy_generator, torch_generator
from experiments.ground_truth.models import save, tokenizer_of
from experiments.ground_truth.plain_transformer import (
    PlainAttention,
    PlainConfig,
    PlainForCausalLM,
    PlainLayer,
)
from experiments.ground_truth.sequences import BOS, LENGTH, SEQUENCES

LAYERS = 2
"""At least; a layer that the program does not need has random heads alone."""
HEADS = 8
FEWEST_TOKENS = 32
"""Of a vocabulary; the top 20 log probabilities are kept."""
GAIN = 10.0
"""Logit of the program's output; the other tokens have 0."""
RANDOM_SCORES, RANDOM_OUTPUT = 2.0, 0.002
"""About the spread of a random head's scores, and the size of each component that it writes. The program's
own components are 1."""
EXACTNESS = 400
"""Of tracr's MLPs, so that counts of many tokens differ."""


def _shifted(by: int) -> rasp.SOp:
    before = rasp.Select(rasp.indices, rasp.indices, lambda key, query: key == query - by)
    return rasp.Aggregate(before, rasp.tokens, default=None)


def _follower(key: rasp.SOp, query: rasp.SOp) -> rasp.SOp:
    return rasp.Aggregate(rasp.Select(key, query, rasp.Comparison.EQ), rasp.tokens, default=None)


def _follower_of_two() -> rasp.SOp:
    one, two = _shifted(1), _shifted(2)
    before = rasp.SequenceMap(lambda first, second: first + second, two, one)
    here = rasp.SequenceMap(lambda first, second: first + second, one, rasp.tokens)
    return _follower(before, here)


PROGRAMS: Mapping[str, Callable[[], rasp.SOp]] = {
    "previous": lambda: _shifted(1),
    "count": lambda: rasp.SelectorWidth(rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.EQ)),
    "induction": lambda: _follower(_shifted(1), rasp.tokens),
    "induction-of-two": _follower_of_two,
}


def main() -> None:
    """Compile every program and save it."""
    for name, program in PROGRAMS.items():
        compiled = compiling.compile_rasp_to_model(
            program().named("output"),
            vocab=set(SEQUENCES[name].letters),
            max_seq_len=LENGTH - 1,
            causal=True,
            compiler_bos=BOS,
            mlp_exactness=EXACTNESS,
        )
        model, words = to_model(compiled, name)
        save(model, tokenizer_of(words), name)


def to_model(compiled: Any, name: str) -> tuple[PlainForCausalLM, list[str]]:
    """The Hugging Face model of what tracr compiled, and its tokens in the order of their ids."""
    weights = {
        f"{module}/{part}": torch.from_numpy(np.array(values))
        for module, parts in compiled.params.items()
        for part, values in parts.items()
    }
    outputs = {
        found[1]: direction
        for direction, label in enumerate(compiled.residual_labels)
        if (found := re.fullmatch(r"output_\d+:(.+)", label))
    }
    inputs = compiled.input_encoder.encoding_map
    words = sorted(inputs, key=inputs.__getitem__)
    words += [value for value in outputs if value not in inputs]
    words += [f"<unused {number}>" for number in range(len(words), FEWEST_TOKENS)]
    sizes = compiled.model_config
    generator = numpy_generator(0, "ground truth", name, "places")
    places = [
        sorted(generator.choice(HEADS, sizes.num_heads, replace=False).tolist())
        for _ in range(sizes.num_layers)
    ]
    written = [weights[f"transformer/layer_{layer}/attn/linear/w"] for layer in range(sizes.num_layers)]
    config = PlainConfig(
        vocab_size=len(words),
        hidden_size=len(compiled.residual_labels),
        head_size=sizes.key_size,
        num_hidden_layers=max(LAYERS, sizes.num_layers),
        num_attention_heads=HEADS,
        mlp_size=sizes.mlp_hidden_size,
        max_position_embeddings=LENGTH,
        known_heads=tuple(
            (layer, place)
            for layer, of_layer in enumerate(places)
            for head, place in enumerate(of_layer)
            if written[layer][_rows(head, sizes.key_size)].any()
        ),
    )
    model = PlainForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.zero_()
    model.embed_tokens.weight.data[: len(inputs)] = weights["token_embed/embeddings"]
    model.embed_positions.weight.data[:] = weights["pos_embed/embeddings"]
    for value, direction in outputs.items():
        model.lm_head.weight.data[words.index(value), direction] = GAIN
    known = set(config.known_heads)
    random = torch_generator(0, "ground truth", name, "random heads")
    for layer, block in enumerate(model.blocks):
        for head in range(HEADS):
            if (layer, head) not in known:
                _make_random(block.self_attn, _rows(head, sizes.key_size), random)
        if layer < sizes.num_layers:
            _copy(
                block,
                weights,
                f"transformer/layer_{layer}",
                places[layer],
                known=[(layer, place) in known for place in places[layer]],
            )
    return model, words


def _rows(head: int, head_size: int) -> slice:
    """A head's rows of the queries', keys' and values' weights."""
    return slice(head * head_size, (head + 1) * head_size)


def _make_random(attention: PlainAttention, rows: slice, generator: torch.Generator) -> None:
    width, size = attention.o_proj.out_features, rows.stop - rows.start

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    # A residual stream of tracr's has two or three components of size 1.
    attention.q_proj.weight.data[rows] = drawn(size, width) * (RANDOM_SCORES / 3) ** 0.5
    attention.k_proj.weight.data[rows] = drawn(size, width) * (RANDOM_SCORES / 3) ** 0.5
    attention.v_proj.weight.data[rows] = drawn(size, width)
    attention.o_proj.weight.data[:, rows] = drawn(width, size) * RANDOM_OUTPUT / (3 * size) ** 0.5


def _copy(
    block: PlainLayer, weights: Mapping[str, Tensor], name: str, places: list[int], known: list[bool]
) -> None:
    """Put the compiled heads at their places, and the MLP."""
    size = block.self_attn.config.head_size
    for head, (place, is_known) in enumerate(zip(places, known, strict=True)):
        of, to = _rows(head, size), _rows(place, size)
        if is_known:
            attention = block.self_attn
            for part, projection in (
                ("query", attention.q_proj),
                ("key", attention.k_proj),
                ("value", attention.v_proj),
            ):
                projection.weight.data[to] = weights[f"{name}/attn/{part}/w"][:, of].T
            block.self_attn.o_proj.weight.data[:, to] = weights[f"{name}/attn/linear/w"][of].T
    assert block.mlp is not None
    linear = [layer for layer in block.mlp if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(linear, 1):
        layer.weight.data[:] = weights[f"{name}/mlp/linear_{number}/w"].T
        layer.bias.data[:] = weights[f"{name}/mlp/linear_{number}/b"]


if __name__ == "__main__":
    main()
