"""Batches under conditions, from the middle of the model, against one prompt and condition at a time."""

import polars as pl
import pytest
import torch
from helpers.studies import random_prompts

from apmae.intervention import Intervention, Mean, Scale, Zero
from apmae.intervention.run_conditions import run_conditions

PROMPTS = random_prompts().filter(task="eol").head(5)


def interventions(operation):
    heads = [((2, 1),), ((0, 0), (1, 2), (2, 3)), ((1, 3), (2, 0)), ((2, 2),), ()]
    return [Intervention(chosen, operation) for chosen in heads]


@pytest.mark.parametrize("operation", [Zero(), Mean(), Scale(0.5)], ids=lambda operation: operation.name)
@pytest.mark.parametrize("batch_size", [2, 16])
def test_conditions_together_equal_one_prompt_and_condition_at_a_time(llama, operation, batch_size):
    means = llama.mean_head_outputs([PROMPTS["input_ids"].to_list()])
    chosen = interventions(operation)
    results = run_conditions(llama, chosen, PROMPTS, means, batch_size)
    for row, intervention in enumerate(chosen):
        replacement = means if operation.uses_means else None
        with llama.scale_heads(dict.fromkeys(intervention.heads, operation.factor), replacement):
            logits = torch.cat([llama.logits([ids]) for ids in PROMPTS["input_ids"].to_list()])
        assert results.predicted[row].tolist() == logits.argmax(-1).tolist()
        assert results.correct[row].tolist() == (logits.argmax(-1) == 1).tolist()
        expected = logits.log_softmax(-1)[torch.arange(5), PROMPTS["next_token_id"].to_list()]
        torch.testing.assert_close(results.log_probability[row], expected)


@pytest.mark.parametrize("batch_size", [2, 16])
def test_whole_holes_are_written_under_the_condition(llama, batch_size):
    """As the model's own greedy decoding writes them, whose key-value cache comes from changed passes too."""
    with llama.scale_heads(dict.fromkeys([(0, 0), (1, 2)], 0.0)):
        changed = [
            greedy(llama, ids, count) for ids, count in zip(PROMPTS["input_ids"], range(1, 6), strict=True)
        ]
    plain = [greedy(llama, ids, count) for ids, count in zip(PROMPTS["input_ids"], range(1, 6), strict=True)]
    differ = [one != other for one, other in zip(changed, plain, strict=True)]
    assert any(differ)
    prompts = PROMPTS.with_columns(true_ids=pl.Series(changed))
    found = run_conditions(llama, [Intervention(((0, 0), (1, 2)), Zero())], prompts, None, batch_size)
    assert found.correct[0].all()
    assert (~found.plain_correct).tolist() == differ


def greedy(target, ids, count):
    ids = torch.tensor([ids.to_list()])
    options = {"do_sample": False, "max_new_tokens": count, "pad_token_id": 0}
    return target.model.generate(ids, attention_mask=torch.ones_like(ids), **options)[
        0, ids.shape[1] :
    ].tolist()


def test_layers_before_the_first_head_are_run_once_for_all_conditions(llama):
    runs = []
    for number, layer in enumerate(llama.model.model.layers):
        # On what only a layer that really runs calls.
        layer.mlp.register_forward_hook(lambda *_, number=number: runs.append(number))
    late = [Intervention(((2, head),)) for head in range(4)]
    run_conditions(llama, late, PROMPTS, None, batch_size=5)
    assert [runs.count(layer) for layer in range(3)] == [1, 1, 1 + 4]


@pytest.mark.parametrize("batch_size", [2, 16])
def test_the_identity_condition_is_the_unchanged_model(llama, batch_size):
    results = run_conditions(llama, interventions(Zero()), PROMPTS, None, batch_size)
    logits = torch.cat([llama.logits([ids]) for ids in PROMPTS["input_ids"].to_list()])
    assert results.plain_predicted.tolist() == logits.argmax(-1).tolist()
    expected = logits.log_softmax(-1)[torch.arange(5), PROMPTS["next_token_id"].to_list()]
    torch.testing.assert_close(results.plain_log_probability, expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_a_condition_that_changes_nothing_gives_the_very_outcomes_of_the_identity_condition(
    llama, batch_size
):
    """Before and after are of the same batch, so what depends on its composition is no change."""
    for layer in llama.model.model.layers:
        layer.mlp.register_forward_hook(lambda _, args, output: output + args[0].mean())
    still = [Intervention(heads, Scale(1.0)) for heads in (((0, 1),), ((1, 2), (2, 0)), ((2, 3),))]
    results = run_conditions(llama, [*still, Intervention(((2, 1),))], PROMPTS, None, batch_size)
    for row in range(3):
        assert torch.equal(results.log_probability[row], results.plain_log_probability)
        assert torch.equal(results.predicted[row], results.plain_predicted)
    assert not torch.equal(results.log_probability[3], results.plain_log_probability)


def test_batches_are_as_equal_as_can_be(llama):
    sizes = []
    llama.model.model.layers[0].mlp.register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
    run_conditions(llama, [], PROMPTS, None, batch_size=4)
    assert sizes == [3, 2]
    empty = run_conditions(llama, interventions(Zero()), PROMPTS.clear(), None, batch_size=4)
    assert empty.predicted.shape == (5, 0)


def test_prompts_keep_their_places_over_several_chunks(llama):
    chosen = interventions(Zero())[:2]
    whole = run_conditions(llama, chosen, PROMPTS, None, batch_size=16)
    order = [4, 2, 0, 3, 1]
    shuffled = PROMPTS.select(pl.all().gather(order))
    parts = run_conditions(llama, chosen, shuffled, None, batch_size=2)
    assert torch.equal(parts.predicted, whole.predicted[:, order])
