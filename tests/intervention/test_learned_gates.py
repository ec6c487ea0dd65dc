"""Learned gates find a head that was planted, leave the others, and survive a search that diverges."""

import numpy as np
import polars as pl
import pytest
import torch
from helpers.studies import random_prompts

from apmae.intervention import learned_gates
from apmae.intervention.learned_gates import learn_gates, verdict_of
from apmae.study.artifacts import token_ids

PLANTED = (1, 2)
PROMPTS = random_prompts(count=24)
CODE = random_prompts(count=0, encoder_count=8, seed=5)
NO_CODE = CODE.clear()


@pytest.fixture
def loud(llama):
    """The tiny Llama, one of whose heads speaks up."""
    columns = llama.model.model.layers[PLANTED[0]].self_attn.o_proj.weight.data.unflatten(1, (4, -1))
    columns[:, PLANTED[1]] *= 40
    return llama


def completed(target, factors):
    """Prompts whose true token is what the target predicts with its heads so scaled."""
    with target.scale_heads(factors):
        predicted = target.logits(PROMPTS["input_ids"].to_list()).argmax(-1)
    return PROMPTS.with_columns(true_ids=pl.Series(predicted[:, None].tolist(), dtype=pl.List(pl.Int32)))


def learn(target, prompts, code=NO_CODE, penalty=0.003, steps=40, seed=0, **options):
    weights = np.ones(prompts.height)
    return learn_gates(target, prompts, weights, code, steps, penalty, np.random.default_rng(seed), **options)


def test_a_head_that_interferes_is_closed_and_the_others_stay(loud):
    found = learn(loud, completed(loud, {PLANTED: 0.0})).gates
    assert found[PLANTED] < 0.1
    others = found.flatten()[[head != PLANTED for head in loud.heads]]
    assert others.min() > 0.5 and others.mean() > 0.9
    assert verdict_of(float(found[PLANTED]), 0.0) == "interfering"


def test_a_head_that_is_needed_stays_open_although_this_costs(loud):
    prompts = completed(loud, {})
    removed = learn(loud, prompts, penalised="open", penalty=0.02, steps=60).gates
    assert removed[PLANTED] > 0.5
    others = removed.flatten()[[head != PLANTED for head in loud.heads]]
    assert others.median() < 0.2
    retained = learn(loud, prompts).gates
    assert verdict_of(float(retained[PLANTED]), float(removed[PLANTED])) == "facilitating"
    quiet = int(others.argmin())
    assert verdict_of(1.0, float(others[quiet])) == "irrelevant"


def test_gates_that_gain_nothing_are_exactly_open(loud):
    found = learn(loud, completed(loud, {PLANTED: 0.0}), penalty=0.5)
    others = found.gates.flatten()[[head != PLANTED for head in loud.heads]]
    assert (others == 1).all()


def test_the_divergence_is_that_of_the_outputs_on_other_code(loud):
    ids = token_ids(CODE)
    gates = torch.ones(3, 4)
    gates[PLANTED] = 0
    open_gates = torch.ones(3, 4)
    assert learned_gates._divergence(loud, open_gates, ids).item() == 0
    found = learned_gates._divergence(loud, gates, ids)
    places = [8, 10, 12, 15]
    with torch.inference_mode():
        plain = loud.model(torch.from_numpy(ids).long()).logits[:, places].log_softmax(-1)
        with loud.scale_heads(gates):
            gated = loud.model(torch.from_numpy(ids).long()).logits[:, places].log_softmax(-1)
    expected = torch.nn.functional.kl_div(gated, plain, log_target=True, reduction="none").sum(-1).mean()
    torch.testing.assert_close(found, expected)


def test_other_code_keeps_gates_open(loud, monkeypatch):
    """The divergence of the tiny target is small; a hundred times of it outweighs the prompts."""
    prompts = completed(loud, {PLANTED: 0.0})
    whole = learned_gates._divergence
    monkeypatch.setattr(learned_gates, "_divergence", lambda *given: 100 * whole(*given))
    free, bound = (learn(loud, prompts, code).gates for code in (NO_CODE, CODE))
    assert bound[PLANTED] > free[PLANTED] + 0.1


def test_the_same_seed_gives_the_same_gates_and_the_model_is_as_it_was(loud):
    prompts = completed(loud, {PLANTED: 0.0})
    before = loud.logits(PROMPTS["input_ids"].to_list())
    one, again, other = (learn(loud, prompts, CODE, steps=5, seed=seed).gates for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(loud.logits(PROMPTS["input_ids"].to_list()), before)
    assert all(parameter.grad is None for parameter in loud.model.parameters())


def test_prompts_count_by_their_weights(loud):
    helped, hurt = completed(loud, {PLANTED: 0.0}), completed(loud, {})
    both = pl.concat([helped, hurt])
    weights = np.repeat([1.0, 0.0], PROMPTS.height)
    generator = np.random.default_rng(0)
    found = learn_gates(loud, both, weights, NO_CODE, 40, 0.003, generator).gates
    assert found[PLANTED] < 0.1
    generator = np.random.default_rng(0)
    assert learn_gates(loud, both, 1 - weights, NO_CODE, 40, 0.003, generator).gates[PLANTED] > 0.9


def test_a_search_that_diverges_keeps_the_last_good_gates(loud, monkeypatch):
    prompts = completed(loud, {PLANTED: 0.0})
    good = learn(loud, prompts, steps=3).gates
    calls = []
    whole = learned_gates._log_probability

    def breaks(target, gates, batch):
        calls.append(1)
        return whole(target, gates, batch) * (torch.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(learned_gates, "_log_probability", breaks)
    found = learn(loud, prompts, steps=10)
    assert found.diverged_at == 3
    assert torch.equal(found.gates, good)
