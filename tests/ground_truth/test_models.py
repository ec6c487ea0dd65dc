"""The models with known heads: they compute what they should, and ablation finds their heads."""

import numpy as np
import pytest

from apmae.effects.ablation import exact_effects
from apmae.intervention import Zero
from experiments.ground_truth import study
from experiments.ground_truth.measures import auroc
from experiments.ground_truth.models import known_heads, load
from experiments.ground_truth.sequences import LENGTH, SEQUENCES

COMPILED = [name for name in SEQUENCES if name != "trained-induction"]


@pytest.fixture(scope="module", params=SEQUENCES)
def model(request):
    return request.param, load(request.param)


def test_known_heads_are_few_of_many(model):
    _, target = model
    known = known_heads(target)
    assert 1 <= len(known) <= 3
    assert len(target.heads) >= 16
    assert set(known) < set(target.heads)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_programs_do_what_they_say(name):
    target, generator = load(name), np.random.default_rng(5)
    to_ids, to_words = target.tokenizer.convert_tokens_to_ids, target.tokenizer.convert_ids_to_tokens
    prompts = [SEQUENCES[name].prompt(generator)[0] for _ in range(40)]
    predicted = to_words(target.logits([to_ids(tokens) for tokens in prompts]).argmax(-1).tolist())
    expected = [ANSWERS[name](tokens[1:]) for tokens in prompts]
    asked = [(found, answer) for found, answer in zip(predicted, expected, strict=True) if answer]
    assert len(asked) >= 20
    assert np.mean([found == answer for found, answer in asked]) >= 0.9  # the others disturb large counts


def follower(tokens, matched):
    """The token that followed an earlier occurrence of the last ones; None where there is not just one."""
    ending = tokens[-matched:]
    starts = range(len(tokens) - matched)
    found = [tokens[start + matched] for start in starts if tokens[start : start + matched] == ending]
    return found[0] if len(found) == 1 else None


ANSWERS = {
    "previous": lambda tokens: tokens[-2],
    "count": lambda tokens: str(tokens.count(tokens[-1])),
    "induction": lambda tokens: follower(tokens, 1),
    "induction-of-two": lambda tokens: follower(tokens, 2),
}


def test_exact_effects_find_the_known_heads(model, tmp_path):
    name, target = model
    config = study.config_of(name, tmp_path, seed=3)
    prompts = study.draw_prompts(name, config, target).filter(purpose="study", split="train").head(64)
    effects = exact_effects(target, target.heads, Zero(), prompts, None, 16)
    means = effects.group_by("layer", "head", maintain_order=True).mean()["log_probability"].abs()
    known = np.array([head in known_heads(target) for head in target.heads])
    assert auroc(means.to_numpy(), known) > 0.95


def test_prompts_are_balanced_and_groups_are_of_one_split(model, tmp_path):
    name, target = model
    config = study.config_of(name, tmp_path, seed=0)
    prompts = study.draw_prompts(name, config, target)
    kept = prompts.filter(purpose="study")
    assert kept["correct"].sum() * 2 == kept.height == config.prompts.per_task
    assert kept.unique(["group", "split"]).height == kept["group"].n_unique()
    assert prompts["input_ids"].list.len().unique().to_list() == [LENGTH]
    (task,) = study.task_table(prompts).to_dicts()
    assert task["base_rate"] == prompts.filter(purpose="encoder")["correct"].mean()


def test_roles_tell_what_the_heads_of_induction_do(tmp_path):
    target = load("induction")
    config = study.config_of("induction", tmp_path, seed=0)
    prompts = study.draw_prompts("induction", config, target).filter(purpose="study").head(32)
    roles = study.roles_of(target, prompts, seed=0)
    leading = {
        role: roles.filter(role=role).sort("difference").select("layer", "head").row(-1)
        for role in ("previous_token", "induction")
    }
    assert list(leading.values()) == known_heads(target)
