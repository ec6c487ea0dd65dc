"""One pass over prompts and their true tokens, against decoding them."""

import pytest
import torch
from helpers.models import tiny_llama

from apmae.common.errors import ApmaeError
from apmae.target_model import Completions, Target

PROMPTS = torch.randint(0, 512, (6, 24), generator=torch.Generator().manual_seed(0)).tolist()
TOKENS = 4


@pytest.fixture(scope="module")
def target():
    return Target(tiny_llama(), None, "tiny")


def decoded(target, prompt):
    """What the model's own greedy decoding writes, with its key-value cache."""
    ids = torch.tensor([prompt])
    written = target.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS, pad_token_id=0
    )
    return written[0, len(prompt) :].tolist()


def test_greedy_decoding_is_the_models_own(target):
    assert target.greedy(PROMPTS, TOKENS).tolist() == [decoded(target, prompt) for prompt in PROMPTS]


def test_greedy_decoding_beyond_the_models_limit_is_refused(target):
    with pytest.raises(ApmaeError, match="tiny reads at most 512 tokens, the prompts have 513"):
        target.greedy([[1] * 510], 4)


def test_what_is_written_is_what_greedy_decoding_writes(target):
    written = [decoded(target, prompt) for prompt in PROMPTS]
    lengths = [1, 2, 3, 4, 4, 2]
    true_ids = [ids[:length] for ids, length in zip(written, lengths, strict=True)]
    true_ids[3][1] ^= 1  # right but for its second token
    true_ids[5][1] ^= 1  # and but for its last one
    expected = [
        decoded(target, prompt)[: len(ids)] == ids for prompt, ids in zip(PROMPTS, true_ids, strict=True)
    ]
    assert expected == [True, True, True, False, True, False]

    completions = Completions.of(PROMPTS, true_ids)
    logits = target.logits_at(completions.input_ids, completions.positions)
    assert completions.written(logits).tolist() == expected


def test_the_log_probability_is_the_sum_over_the_own_tokens_alone(target):
    true_ids = [[7], [8, 9, 10], [11, 12], [13], [14], [15]]
    completions = Completions.of(PROMPTS, true_ids)
    found = completions.log_probability(target.logits_at(completions.input_ids, completions.positions))
    for row, (prompt, ids) in enumerate(zip(PROMPTS, true_ids, strict=True)):
        one_by_one = [
            target.logits([[*prompt, *ids[:place]]])[0].log_softmax(-1)[token].item()
            for place, token in enumerate(ids)
        ]
        assert found[row].item() == pytest.approx(sum(one_by_one), abs=1e-5)


def test_gradients_are_those_of_all_true_tokens(target):
    completions = Completions.of(PROMPTS[:2], [[7, 8], [9]])
    factors = torch.ones(2, target.n_layers, target.n_heads)
    gradients = target.factor_gradients(completions, factors)
    step = 1e-2
    changed = {}
    for sign in (1, -1):
        shifted = factors.clone()
        shifted[:, 1, 2] += sign * step
        with target.scale_heads(shifted):
            logits = target.logits_at(completions.input_ids, completions.positions)
        changed[sign] = completions.log_probability(logits)
    expected = (changed[1] - changed[-1]) / (2 * step)
    torch.testing.assert_close(gradients[:, 1, 2], expected, atol=2e-4, rtol=1e-2)
