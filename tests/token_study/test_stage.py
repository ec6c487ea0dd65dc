"""The stage against single prompts: places, labels, features and weights; resuming."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
import zarr
from helpers.corpora import write_corpus
from helpers.models import SENTINELS, corpus_text, filling_target, tiny_llama
from helpers.studies import context_of, tiny_config
from helpers.tokenizers import byte_level_tokenizer

from apmae.autoencoder.patterns import row_statistics
from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.study import Study
from apmae.study.artifacts import TOKEN_ARRAYS, TOKENS, WINDOWS, token_ids
from apmae.target_model import Target, outcomes
from apmae.token_study import stage
from apmae.token_study.tokens import HEAD_FEATURES, projection, token_features
from apmae.token_study.windows import _places

LENGTH, FIRST = 96, 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory, packages=6, files=3, methods=8)
    return directory


@pytest.fixture(scope="module")
def target(corpus):
    return Target(tiny_llama(), byte_level_tokenizer(corpus_text(corpus)), "tiny")


@pytest.fixture(scope="module")
def filling(corpus):
    """A target whose tokenizer has the sentinels of StarCoder."""
    return filling_target(corpus)


@pytest.fixture
def make(tmp_path, corpus):
    def call(directory="run", prompt_format="causal", **tokens):
        settings = {
            "windows": 20,
            "per_window": 32,
            "context_tokens": FIRST,
            "hidden_dimensions": 8,
            **tokens,
        }
        config = tiny_config(
            tmp_path / directory,
            corpus={"source": "directory", "path": str(corpus)},
            prompts={"length_tokens": LENGTH, "format": prompt_format, "tasks": ["eol"]},
            encoder={"size": "tiny", "patch_size": 16},
            tokens=settings,
        )
        return Study.create(config)

    return call


def copied_by_hand(prompts, predicted, rows):
    """(prompts, heads, 3): the attention of the last rows to each of `apmae.encoding.copying.SOURCES`."""
    found = torch.zeros(*rows.shape[:2], 3)
    for number, prompt in enumerate(prompts.tolist()):
        for place, token in enumerate(prompt):
            is_predicted = token == predicted[number]
            is_induction = place > 0 and prompt[place - 1] == prompt[-1]
            for kind, counts in enumerate((is_predicted, is_induction, is_predicted and is_induction)):
                found[number, :, kind] += counts * rows[number, :, place]
    return found


def test_features_of_a_window_are_those_of_every_prompt_that_it_begins_with(target):
    ids = np.random.default_rng(0).integers(0, 512, (3, LENGTH)).astype(np.int32)
    likely = target.logits(ids[:, :FIRST]).argmax(-1).numpy()
    ids[:, 5], ids[:, 20:23] = likely, np.stack([ids[:, FIRST - 1], likely, likely], 1)  # to be copied
    found = token_features(target, ids, FIRST)
    for place in (FIRST, FIRST + 1, 70, LENGTH - 1):
        prompts = torch.from_numpy(ids[:, :place]).long()
        with target.recording_hidden_states([1, 3]) as hidden:
            logits, layers = target.capture(prompts, lambda _, rows: row_statistics(rows[..., -1, :]))
            _, rows = target.capture(prompts, lambda _, rows: rows[..., -1, :].exp())
        expected = outcomes(logits, torch.from_numpy(ids[:, place]).long())
        for name, values in expected._asdict().items():
            torch.testing.assert_close(getattr(found.outcomes, name)[:, place - FIRST], values)
        of_heads = torch.cat([layers[layer] for layer in range(3)], 1)
        torch.testing.assert_close(
            found.of_heads["row_statistics"][:, place - FIRST], of_heads, atol=1e-5, rtol=1e-5
        )
        copied = copied_by_hand(
            prompts, expected.predicted_id, torch.cat([rows[layer] for layer in range(3)], 1)
        )
        torch.testing.assert_close(
            found.of_heads["copy_attention"][:, place - FIRST], copied, atol=1e-5, rtol=1e-5
        )
        assert place > FIRST or (copied.amax((0, 1)) > 0).all()
        streams = torch.stack([hidden[1][0], hidden[3][0]], 1)
        torch.testing.assert_close(found.hidden_states[:, place - FIRST], streams, atol=1e-5, rtol=1e-5)
        top = logits.log_softmax(-1).topk(20).values
        torch.testing.assert_close(found.top_log_probs[:, place - FIRST], top, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", HEAD_FEATURES)
def test_features_of_heads_that_nobody_asked_for_are_not_computed(target, name):
    ids = np.random.default_rng(1).integers(0, 16, (2, LENGTH)).astype(np.int32)
    alone, everything = token_features(target, ids, FIRST, [name]), token_features(target, ids, FIRST)
    assert set(alone.of_heads) == {name} < set(everything.of_heads)
    assert alone.of_heads[name].shape[-1] == HEAD_FEATURES[name]
    assert torch.equal(alone.of_heads[name], everything.of_heads[name])


def test_rows_of_every_artifact_belong_together(make, target):
    study = make()
    counts = stage.run(context_of(study, target))
    windows, tokens = study.read(WINDOWS), study.read(TOKENS)
    arrays = zarr.open_group(study.path(TOKEN_ARRAYS), mode="r")
    assert (counts["windows"], counts["tokens"]) == (20, 20 * 32) == (windows.height, tokens.height)
    ids, rows = token_ids(windows), np.random.default_rng(0).integers(tokens.height, size=40)
    project = projection(32, study.config)
    everything = token_features(target, ids, FIRST)
    for number in rows:
        row = tokens.row(int(number), named=True)
        window, place = row["window"], row["place"]
        assert row["next_token_id"] == ids[window, place]
        assert row["predicted_id"] == everything.outcomes.predicted_id[window, place - FIRST]
        assert row["correct"] == (row["predicted_id"] == row["next_token_id"])
        assert row["group"] == windows["group"][window]
        known = {**everything._asdict(), **everything.of_heads}
        one = {name: known[name][window, place - FIRST] for name in arrays}
        one["hidden_states"] = one["hidden_states"] @ project
        for name, values in one.items():
            np.testing.assert_allclose(arrays[name][number], values.half().numpy(), rtol=2e-3, atol=2e-3)


def test_weights_give_back_the_rates_of_all_tokens(make, target):
    study = make()
    counts = stage.run(context_of(study, target))
    tokens, windows = study.read(TOKENS), study.read(WINDOWS)
    everything = token_features(target, token_ids(windows), FIRST)
    assert counts["base_rate"] == pytest.approx(float(everything.outcomes.correct.float().mean()), abs=1e-4)
    classes = np.array(windows["syntax"].to_list())[:, FIRST:]
    weighted = tokens.group_by("syntax").agg(pl.col("weight").sum())
    for name, weight in weighted.iter_rows():
        assert weight == pytest.approx((classes == stage.SYNTAX_CLASSES.index(name)).sum(), rel=1e-5)
    assert tokens["syntax"].n_unique() > 6


def test_windows_are_text_of_the_files_behind_the_leading_tokens(make, target, corpus):
    study = make()
    stage.run(context_of(study, target))
    for row in study.read(WINDOWS).iter_rows(named=True):
        text = (corpus / row["file"]).read_text()
        decoded = target.tokenizer.decode(row["input_ids"])
        assert decoded in text
        assert "".join(text.splitlines(keepends=True)[row["line"] - 1 :]).find(decoded[:20].lstrip()) >= 0


def test_a_killed_stage_goes_on_and_ends_with_the_same(make, target, monkeypatch):
    monkeypatch.setattr(stage, "SHARD_WINDOWS", 4)
    whole = make("whole")
    stage.run(context_of(whole, target))

    def killed(items, description, total=None, **_):
        for count, item in enumerate(items):
            if description == "tokens" and count == 2:
                raise KeyboardInterrupt
            yield item

    study = make("killed")
    with pytest.raises(KeyboardInterrupt):
        stage.run(context_of(study, target, progress=killed))
    seen = []

    def counted(items, description, total=None, done=0, **_):
        seen.append((description, done))
        return silent(items, description)

    stage.run(context_of(study, target, progress=counted))
    assert ("tokens", 2) in seen
    assert study.read(TOKENS).equals(whole.read(TOKENS))
    first, second = (zarr.open_group(each.path(TOKEN_ARRAYS), mode="r") for each in (whole, study))
    for name in first:
        assert np.isfinite(first[name][:]).all()
        np.testing.assert_array_equal(first[name][:], second[name][:])


def test_without_windows_nothing_is_made(make, target):
    study = make(windows=0)
    assert stage.run(context_of(study, target)) == {"windows": 0, "tokens": 0}
    assert not study.path(TOKENS).exists()


def test_files_that_are_too_short_end_in_one_line(make, target, tmp_path, monkeypatch):
    study = make()
    monkeypatch.setattr(stage, "draw_windows", lambda *_: iter(()))
    with pytest.raises(ApmaeError, match=r"no file of .* has the 96 tokens of a window"):
        stage.run(context_of(study, target))


def test_a_fill_in_the_middle_window_ends_with_the_tokens_of_its_hole(make, filling, corpus):
    study = make(prompt_format="auto", middle_tokens=40)
    counts = stage.run(context_of(study, filling))
    windows, tokens = study.windows, study.tokens
    assert (counts["windows"], counts["tokens"]) == (20, 20 * 32) == (windows.height, tokens.height)
    prefix, suffix, middle = filling.tokenizer.convert_tokens_to_ids(SENTINELS)
    for row in windows.iter_rows(named=True):
        ids = row["input_ids"]
        assert (len(ids), ids[0], ids[LENGTH - 40 - 1]) == (LENGTH, prefix, middle)
        before, hole = ids[1 : ids.index(suffix)], ids[LENGTH - 40 :]
        after = ids[ids.index(suffix) + 1 : LENGTH - 40 - 1]
        text = (corpus / row["file"]).read_text()
        place = text.index(filling.tokenizer.decode([*before, *hole, *after]))
        line = text.count("\n", 0, place + len(filling.tokenizer.decode(before))) + 1
        assert row["line"] == line
        assert set(row["syntax"][: LENGTH - 40]) == {0}
        assert len(set(row["syntax"][LENGTH - 40 :])) > 3
    assert (tokens["place"] >= LENGTH - 40).all()
    row = tokens.row(7, named=True)
    prompt = [windows["input_ids"][row["window"]].to_list()[: row["place"]]]
    assert int(filling.logits(prompt).argmax()) == row["predicted_id"]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ({"prompt_format": "auto", "middle_tokens": LENGTH - 15}, r"tokens\.middle_tokens 81 does not fit"),
        ({"prompt_format": "causal", "context_tokens": LENGTH}, r"tokens\.context_tokens 96 does not fit"),
    ],
)
def test_windows_without_a_prompt_or_a_token_end_in_one_line(make, filling, tokens, said):
    with pytest.raises(ApmaeError, match=said):
        stage.run(context_of(make(**tokens), filling))


def test_places_of_windows_do_not_overlap_and_reach_the_ends():
    found = [_places(100, 30, 3, np.random.default_rng(seed)) for seed in range(300)]
    for places in found:
        assert len(places) == 3
        assert all(later - earlier >= 30 for earlier, later in pairwise(places))
    assert min(places[0] for places in found) == 0
    assert max(places[-1] for places in found) == 70
    assert _places(29, 30, 3, np.random.default_rng(0)) == []
