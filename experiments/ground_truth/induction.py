"""`python -m experiments.ground_truth.induction`: train the attention-only model (a few minutes).

Its heads in `TRAINED` learn repeated random sequences until they are an induction circuit. The others write
nothing meanwhile, and get random weights afterwards.
"""

from __future__ import annotations

import torch
import typer
from torch import Tensor

from apmae.common.progress import console
from apmae.common.seeding import torch_generator
from apmae.target_model import Head
from experiments.ground_truth.models import save, tokenizer_of
from experiments.ground_truth.plain_transformer import PlainConfig, PlainForCausalLM
from experiments.ground_truth.sequences import BOS, LENGTH, SEQUENCES

NAME = "trained-induction"
TRAINED: tuple[Head, ...] = ((0, 2), (1, 6))
STEPS = 4000
BATCH_SEQUENCES = 64
LEARNING_RATE = 2e-3
SHORTEST_PERIOD = 8
RANDOM_OUTPUT = 0.1
"""Spread of the other heads' output weights, as a fraction of the trained ones'; the circuit still works."""


def main() -> None:
    """Train the model, give the other heads random weights, and save it."""
    words = [BOS, *SEQUENCES[NAME].letters]
    generator = torch_generator(0, "ground truth", NAME)
    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
    config = PlainConfig(vocab_size=len(words), max_position_embeddings=LENGTH, known_heads=TRAINED)
    model = PlainForCausalLM(config)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * parameter.shape[-1] ** -0.5
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, STEPS)
    losses = [float("nan")]
    keep_others_silent(model)
    for _ in console(range(STEPS), "training", status=lambda: f"loss {losses[-1]:.3f}"):
        loss = loss_of_repeats(model, len(words), generator)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        keep_others_silent(model)
        losses.append(loss.item())
    for layer in range(config.num_hidden_layers):
        make_others_random(model, layer, generator)
    save(model, tokenizer_of(words), NAME)
    with torch.inference_mode():
        with_others = loss_of_repeats(model, len(words), generator)
    typer.echo(f"{losses[-1]:.3f} nats by the trained heads, {with_others:.3f} by all")


def keep_others_silent(model: PlainForCausalLM) -> None:
    """Let the heads that are not trained write nothing."""
    for layer in range(len(model.blocks)):
        written(model, layer)[:, ~trained(model.config, layer)] = 0


def loss_of_repeats(model: PlainForCausalLM, vocabulary: int, generator: torch.Generator) -> Tensor:
    """Cross-entropy, nats, of the tokens of random sequences that are repeated.

    Each sequence has a period of its own, so that the token to look at is not at the same distance in all.
    """
    block = torch.randint(1, vocabulary, (BATCH_SEQUENCES, LENGTH), generator=generator)
    period = torch.randint(SHORTEST_PERIOD, LENGTH // 2, (BATCH_SEQUENCES, 1), generator=generator)
    place = torch.arange(LENGTH)
    ids = torch.cat([torch.zeros_like(period), block.gather(1, place % period)], 1)
    logits = model(ids[:, :-1]).logits
    again = (place > period) & (
        place <= 2 * period
    )  # the second time, the first token of which has no reason
    return torch.nn.functional.cross_entropy(logits[again], ids[:, 1:][again])


def trained(config: PlainConfig, layer: int) -> Tensor:
    """(H,) whether a head is trained."""
    return torch.tensor([(layer, head) in TRAINED for head in range(config.num_attention_heads)])


def written(model: PlainForCausalLM, layer: int) -> Tensor:
    """A view (D, H, head size) of a layer's output projection."""
    weight = model.blocks[layer].self_attn.o_proj.weight.data
    return weight.view(len(weight), model.config.num_attention_heads, -1)


def make_others_random(model: PlainForCausalLM, layer: int, generator: torch.Generator) -> None:
    """Give the heads that were not trained weights with the trained ones' spread, by projection."""
    attention, is_trained = model.blocks[layer].self_attn, trained(model.config, layer)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        weight = projection.weight.data.view(len(is_trained), model.config.head_size, -1)
        weight[~is_trained] = (
            torch.randn(weight[~is_trained].shape, generator=generator) * weight[is_trained].std()
        )
    weight = written(model, layer)
    others = weight[:, ~is_trained]
    weight[:, ~is_trained] = (
        torch.randn(others.shape, generator=generator) * RANDOM_OUTPUT * weight[:, is_trained].std()
    )


if __name__ == "__main__":
    main()
