"""Scores during `generate` against one pass over what was generated."""

import shutil

import numpy as np
import pytest
import torch

from apmae import pipeline
from apmae.common.errors import ApmaeError
from apmae.scoring import TokenScorer, watch
from apmae.study.study_file import load_config
from apmae.token_study.columns import Tokens
from apmae.token_study.tokens import token_features

NEW = 12


@pytest.fixture(scope="module")
def scorer(token_study):
    return TokenScorer.load(token_study.directory)


@pytest.fixture(scope="module")
def prompt(token_study):
    return torch.tensor([token_study.windows["input_ids"][3].to_list()[:50]])


ROUNDED = 5e-3
"""Features are kept in float16, and passes of other shapes may round one of them another way."""


def generate(scorer, prompt, **options):
    return scorer.target.model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=NEW,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
        **options,
    )


@pytest.fixture(params=["rows", "copies"])
def scorer_of_one_block(token_study, tmp_path, request):
    """A scorer that reads one block of heads."""
    directory = tmp_path / "run"
    shutil.copytree(token_study.directory, directory)
    changes = [f"token_predictor.features=confidence+{request.param}", f"directory={directory}"]
    pipeline.run(load_config(directory / "study.yaml", changes), only="token_predictor")
    return TokenScorer.load(directory)


def test_live_scores_are_those_of_a_pass_over_the_whole(scorer, prompt):
    assert_like_one_pass(scorer, prompt)


def test_so_are_those_of_a_scorer_that_reads_one_block_of_heads(scorer_of_one_block, prompt):
    assert len(scorer_of_one_block.of_heads) == 1
    assert_like_one_pass(scorer_of_one_block, prompt)


def assert_like_one_pass(scorer, prompt):
    with watch(scorer) as scores:
        ids = generate(scorer, prompt)
    assert len(scores) == NEW
    assert [score.predicted_id for score in scores] == ids[0, prompt.shape[1] :].tolist()
    first = prompt.shape[1]
    windows = ids.numpy().astype(np.int32)
    whole = token_features(scorer.target, windows, first)
    expected = scorer.judge(Tokens.of_pass(whole, windows, first, scorer.project))
    np.testing.assert_allclose([score.probability for score in scores], expected.probability, atol=ROUNDED)
    np.testing.assert_allclose([score.confidence for score in scores], expected.confidence, atol=ROUNDED)
    np.testing.assert_allclose(
        [score.max_probability for score in scores], whole.outcomes.max_probability[0], atol=1e-5
    )
    assert all(len(score.heads) == 3 for score in scores)


def test_generation_is_the_same_and_nothing_stays_behind(scorer, prompt):
    plain = generate(scorer, prompt)
    with watch(scorer) as scores:
        watched = generate(scorer, prompt)
        without_cache = generate(scorer, prompt, use_cache=False)
    assert torch.equal(plain, watched)
    assert torch.equal(plain, without_cache)
    np.testing.assert_allclose(
        [score.probability for score in scores[:NEW]],
        [score.probability for score in scores[NEW:]],
        atol=ROUNDED,
    )
    generate(scorer, prompt)
    assert len(scores) == 2 * NEW


def test_a_threshold_stops_generation(scorer, prompt):
    with watch(scorer) as scores:
        generate(scorer, prompt)
    threshold = sorted(score.probability for score in scores)[2]
    stop = next(number for number, score in enumerate(scores) if score.probability <= threshold + 1e-9)
    with watch(scorer) as scores:
        ids = generate(
            scorer,
            prompt,
            stopping_criteria=[lambda _ids, _: torch.tensor([scores[-1].probability <= threshold + 1e-9])],
        )
    assert ids.shape[1] - prompt.shape[1] == stop + 1


def test_a_cache_that_is_cut_back_takes_its_tokens_along(scorer, prompt):
    model = scorer.target.model
    with watch(scorer) as scores:
        cache = model(input_ids=prompt, use_cache=True).past_key_values
        model(input_ids=prompt[:, :9], past_key_values=cache)  # a guess that is taken back
        cache.crop(-(9 + 4))
        model(prompt[:, -4:], past_key_values=cache)
    whole, guess, again = ([head.log_odds for head in score.heads] for score in scores)
    assert again == pytest.approx(whole, abs=ROUNDED)
    assert guess != pytest.approx(whole, abs=ROUNDED)


def test_a_sequence_that_began_before_is_refused(scorer, prompt):
    cache = scorer.target.model(input_ids=prompt, use_cache=True).past_key_values
    with pytest.raises(ApmaeError, match="began before the block"), watch(scorer):
        scorer.target.model(input_ids=prompt[:, -1:], past_key_values=cache)


def test_several_sequences_are_refused(scorer, prompt):
    with pytest.raises(ApmaeError, match="one sequence at a time"), watch(scorer):
        generate(scorer, prompt.expand(2, -1))
    assert generate(scorer, prompt.expand(2, -1)).shape[0] == 2
