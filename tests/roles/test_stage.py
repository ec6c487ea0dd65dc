"""The whole stage on Java and a tiny target: its table, resuming, and what it refuses."""

from itertools import islice

import numpy as np
import polars as pl
import pytest
from helpers.corpora import write_corpus
from helpers.models import filling_target
from helpers.studies import context_of, tiny_config
from pydantic import ValidationError

from apmae.common.errors import ApmaeError
from apmae.prompts import PromptFormatter
from apmae.roles import stage
from apmae.roles.relations import TOKEN_ROLES
from apmae.study import Study
from apmae.token_study.windows import draw_windows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory, packages=6, files=3, methods=8)
    return directory


@pytest.fixture(scope="module")
def target(corpus):
    return filling_target(corpus)


@pytest.fixture
def make(tmp_path, corpus):
    def call(directory="run", prompt_format="causal", corpus=corpus, **roles):
        config = tiny_config(
            tmp_path / directory,
            corpus={"source": "directory", "path": str(corpus)},
            prompts={"length_tokens": 96, "format": prompt_format, "tasks": ["eol"]},
            encoder={"size": "tiny", "patch_size": 16},
            tokens={"middle_tokens": 32},
            roles={"windows": 12, "random_sequences": 8} | roles,
        )
        return Study.create(config)

    return call


def test_every_head_has_a_score_of_every_role(make, target):
    study = make()
    counts = stage.run(context_of(study, target))
    roles = study.roles
    assert counts["windows"] == 12
    assert set(TOKEN_ROLES) < set(counts["roles"]) and "opening_bracket" in counts["roles"]
    assert roles.group_by("text", "role").len()["len"].unique().to_list() == [12]
    assert set(roles.filter(text=stage.REPEATED)["role"]) == set(TOKEN_ROLES)
    assert roles.filter(pl.col("value") > 1 + 1e-6).is_empty()
    difference = roles["value"] - roles["expected"]
    assert (difference - roles["difference"]).abs().max() < 1e-6
    assert (roles["low"] <= roles["value"]).all() and (roles["value"] <= roles["high"]).all()


def test_a_fill_in_the_middle_target_has_roles_of_syntax_and_the_suffix(make, target):
    study = make(prompt_format="fim")
    stage.run(context_of(study, target))
    assert {"suffix", "opening_bracket", "declaration"} <= set(study.roles["role"])


def test_places_of_a_fill_in_the_middle_window_are_those_of_its_tokens(make, target):
    study = make(prompt_format="fim")
    context = context_of(study, target)
    formatter = PromptFormatter(target.tokenizer, "fim", 96)
    windows = list(islice(draw_windows(context.corpus, study.config, formatter, 1), 8))
    for placed in windows:
        ids, document = placed.window.input_ids, placed.document
        there = placed.places >= 0
        assert (ids[there] == np.array(document.token_ids)[placed.places[there]]).all()
        assert there.sum() >= 96 - 3 - 4  # all but the sentinels, and tokens cut at an edge
        hole, suffix = (placed.places[mask & there] for mask in (placed.hole, placed.suffix))
        assert len(hole) == 32 and (np.diff(hole) == 1).all()
        assert not (placed.hole & placed.suffix).any()
        prefix = placed.places[there & ~placed.hole & ~placed.suffix]
        assert prefix.max(initial=-1) < hole.min() and suffix.min(initial=10**9) > hole.max()
    assert any(placed.suffix.any() for placed in windows)


def test_a_head_that_looks_at_the_token_before_is_found(make, target, monkeypatch):
    """One head's scores are put in the place of those of its pattern."""
    study = make()

    def planted(given, ids, weights):
        found = role_scores(given, ids, weights)
        for roles, scores in zip(weights, found, strict=True):
            for number, role in enumerate(roles):
                scores[number, 5] = [role.role == "previous_token", 0.0]
        return found

    role_scores = stage.role_scores
    monkeypatch.setattr(stage, "role_scores", planted)
    stage.run(context_of(study, target))
    top = study.roles.filter(role="previous_token", text="code").sort("difference", descending=True)
    assert top.row(0, named=True)["layer"] == 1 and top.row(0, named=True)["head"] == 1
    assert top["difference_low"][0] == pytest.approx(1.0)


def test_a_killed_stage_goes_on_and_gives_the_same(make, target, monkeypatch):
    whole, killed = make("whole"), make("killed")
    stage.run(context_of(whole, target))
    calls = []
    scores = stage.role_scores

    def dies(*given):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(1)
        return scores(*given)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "role_scores", dies)
        with pytest.raises(KeyboardInterrupt):
            stage.run(context_of(killed, target))
    again = []
    monkeypatch.setattr(stage, "role_scores", lambda *given: again.append(1) or scores(*given))
    stage.run(context_of(killed, target))
    assert len(again) == 10 - 4  # twenty examples in pairs; the first shard, of four pairs, is kept
    assert killed.roles.equals(whole.roles)


def test_a_corpus_of_too_few_windows_is_refused_in_a_line(make, target, tmp_path):
    write_corpus(tmp_path / "few", packages=2, files=2, methods=8)
    study = make(corpus=tmp_path / "few")
    with pytest.raises(ApmaeError, match=r"has 4 windows of 96 tokens, and roles need 8: lower prompts"):
        stage.run(context_of(study, target))


def test_fewer_windows_than_a_role_needs_cannot_be_asked_for(make):
    with pytest.raises(ValidationError, match=r"roles.windows is 0 or at least 8"):
        make(windows=7)


def test_no_windows_no_roles(make):
    study = make(windows=0)
    assert stage.run(context_of(study)) == {"windows": 0}
    assert study.roles.is_empty()
