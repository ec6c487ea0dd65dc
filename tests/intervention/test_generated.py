"""Whole holes of real files, filled in before and after an intervention."""

import pytest
import torch
from helpers.studies import tiny_config

from apmae.corpus import open_corpus
from apmae.intervention import Intervention, Zero
from apmae.intervention.conditions import Condition
from apmae.intervention.generated import draw_holes, generated
from apmae.prompts import PromptFormatter
from apmae.prompts.spans import parses
from apmae.prompts.stage import split_of

TASKS = ["eol", "identifiers", "closing_bracket", "random"]


@pytest.fixture(scope="module")
def config(corpus, tmp_path_factory):
    return tiny_config(
        tmp_path_factory.mktemp("run"),
        corpus={"source": "directory", "path": str(corpus)},
        prompts={"tasks": TASKS, "length_tokens": 64},
        intervention={"generated_holes": 3},
    )


@pytest.fixture(scope="module")
def holes(config, target):
    formatter = PromptFormatter(target.tokenizer, "causal", 64, "whole_hole")
    return list(draw_holes(open_corpus(config.corpus, config.seed), config, formatter, TASKS, 512))


def test_holes_are_of_held_out_files_and_put_back_make_the_file(holes, config, target, corpus):
    assert {task: sum(hole.task == task for hole in holes) for task in TASKS} == dict.fromkeys(TASKS, 3)
    assert len({(hole.task, hole.file) for hole in holes}) == len(holes)
    for hole in holes:
        assert split_of(hole.group, config) == "test"
        source = (corpus / hole.file).read_text()
        assert source.endswith(hole.before + hole.text + hole.after)
        assert target.tokenizer.decode(hole.prompt.true_ids) == hole.text
        assert hole.before.endswith(target.tokenizer.decode(hole.prompt.input_ids[-8:]))


def test_completions_that_the_target_cannot_read_are_left_out(config, target, holes):
    formatter = PromptFormatter(target.tokenizer, "causal", 64, "whole_hole")
    some = list(draw_holes(open_corpus(config.corpus, config.seed), config, formatter, TASKS, 64))
    assert {len(hole.prompt.true_ids) for hole in some} == {1}
    assert max(len(hole.prompt.true_ids) for hole in holes) > 1


def test_what_is_written_and_judged_is_the_models_own_greedy_decoding(holes, config, target):
    heads = tuple(target.heads[: len(target.heads) // 2])
    condition = Condition("random", "clusters", "positive", 0, Intervention(heads, Zero()))
    table = generated(target, holes, condition, None, config)
    of_task = [hole for hole in holes if hole.task == "random"]
    assert table.height == len(of_task) == 3
    for hole, row in zip(of_task, table.iter_rows(named=True), strict=True):
        assert (row["file"], row["line"], row["text"]) == (hole.file, hole.line, hole.text)
        ids = torch.tensor([hole.prompt.input_ids])
        options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
        options["max_new_tokens"] = len(hole.prompt.true_ids)
        before = target.model.generate(ids, **options)[0, ids.shape[1] :]
        with target.scale_heads(dict.fromkeys(heads, 0.0)):
            after = target.model.generate(ids, **options)[0, ids.shape[1] :]
        for name, written in (("before", before), ("after", after)):
            text = target.tokenizer.decode(written)
            assert row[f"text_{name}"] == text
            assert row[f"exact_{name}"] == (text == hole.text)
            assert row[f"parses_{name}"] == parses(hole.before + text + hole.after, "java")
    assert (table["text_before"] != table["text_after"]).any()


def test_a_hole_that_is_written_as_it_stood_is_exact_and_parses(holes, config, target, monkeypatch):
    truth = {hole.prompt.input_ids: hole.prompt.true_ids for hole in holes}
    zeroed = []

    def written(prompts, count):
        ids = [truth[tuple(prompt)] if not zeroed else [0] * count for prompt in prompts]
        zeroed.append(True)
        return torch.tensor([[*row, *[0] * (count - len(row))] for row in ids])

    monkeypatch.setattr(target, "greedy", written)
    condition = Condition("closing_bracket", "clusters", "positive", 0, Intervention(((0, 0),), Zero()))
    table = generated(target, holes, condition, None, config)
    assert table["exact_before"].all()
    assert table["parses_before"].all()
    assert not table["exact_after"].any()


def test_a_source_with_a_syntax_error_does_not_parse():
    assert parses("class A { int x = (1 + 2); }", "java")
    assert not parses("class A { int x = (1 + 2; }", "java")
    assert not parses("class A { int x = (1 + 2); ", "java")
