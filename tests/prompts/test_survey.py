"""Mining with a survey, of a target whose outcomes are known: rates, halves, and what it costs."""

import copy
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from helpers.corpora import written_files
from helpers.tokenizers import byte_level_tokenizer
from polars.testing import assert_frame_equal
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from apmae.common.seeding import numpy_generator
from apmae.corpus import Corpus, SourceFile
from apmae.prompts import PromptFormatter
from apmae.prompts.stage import Miner, prompt_table, shortfall_notes, task_table
from apmae.study.config import StudyConfig

FILES = [SourceFile(name, name.split("/")[0], text) for name, text in written_files(packages=60, methods=14)]
TOKENIZER = byte_level_tokenizer("".join(file.text for file in FILES[:20]))
FIM_TOKENIZER = copy.deepcopy(TOKENIZER)
FIM_TOKENIZER.add_special_tokens({"extra_special_tokens": ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"]})
CORPUS = Corpus("made", "made", lambda start: iter(FILES[start:]))


@dataclass
class KnownTarget:
    """Answers that are correct at a given rate, each hole's drawn from its file and line.

    A survey is sure of the outcome of the exact prompt, but for a fraction in which it errs.
    """

    rate: float
    errs: float = 0.05
    asked: list = field(default_factory=list)

    def outcomes(self, batch):
        self.asked += batch
        return [
            {
                "predicted_id": each.true_ids[0] if self._correct(each) else -1,
                "correct": self._correct(each) if each.true_ids else None,
                "next_token_probability": 0.5,
                "max_probability": 0.5,
                "margin": 0.0,
                "entropy": 1.0,
            }
            for each in batch
        ]

    def seen_in_window(self, window, candidates):
        assert all(each.window is window for each in candidates)
        return [self._seen(each) for each in candidates]

    def seen_in_short(self, candidates):
        assert all(len(each.short) == 32 for each in candidates)
        return [self._seen(each) for each in candidates]

    def _seen(self, candidate):
        errs = numpy_generator(0, "errs", *candidate.input_ids[-24:]).random() < self.errs
        return 0.95 if self._correct(candidate) != errs else 0.05

    def _correct(self, candidate):
        return bool(_draw(candidate.input_ids) < self.rate)


def _draw(input_ids):
    return numpy_generator(0, "outcome", *input_ids[-24:]).random()


def mine(target, max_tokens=4096, corpus=CORPUS, batch_size=8, **prompts):
    """Mine `eol` prompts: -> (miner, prompts, the row of the tasks table)."""
    settings = {"tasks": ["eol"], "per_task": 120, "encoder_prompts": 8, "length_tokens": 64, **prompts}
    config = StudyConfig.model_validate(
        {
            "name": "mined",
            "target": {"batch_size": batch_size},
            "prompts": settings,
            "encoder": {"patch_size": 16},
        }
    )
    miner = Miner(config, PromptFormatter(TOKENIZER, "causal", 64), target, max_tokens)
    progress = sum(1 for _ in miner.collect(corpus))
    table = prompt_table(miner.collections, config)
    assert progress >= table.height
    assert table["correct"].null_count() == 0
    return miner, table.filter(purpose="study"), task_table(miner.collections).row(0, named=True)


@pytest.mark.parametrize("rate", [0.94, 0.06])
def test_the_base_rate_is_that_of_candidates_as_they_come(rate):
    target = KnownTarget(rate)
    miner, prompts, task = mine(target)
    assert miner.survey.passes > 0
    assert (task["kept_correct"], task["kept_incorrect"]) == (60, 60)
    assert prompts["searched"].sum() > 40
    assert binomtest(task["evaluated_correct"], task["evaluated"], rate).pvalue > 0.001
    everything = [target._correct(each) for each in target.asked if each.quota.task == "eol"]
    assert (
        binomtest(sum(everything), len(everything), rate).pvalue < 1e-6
    )  # what was searched is another rate


@pytest.mark.parametrize("rate", [0.94, 0.75, 0.5])
def test_prompts_are_exact_whatever_the_survey_saw(rate):
    target = KnownTarget(rate, errs=0.3)
    _, prompts, task = mine(target)
    assert (task["kept_correct"], task["kept_incorrect"]) == (60, 60)
    for row in prompts.iter_rows(named=True):
        assert row["correct"] == (_draw(row["input_ids"]) < rate)
        assert len(row["input_ids"]) == 64


@pytest.mark.parametrize("rate", [0.94, 0.5])
def test_prompts_are_the_same_whatever_the_batch_size(rate):
    _, prompts, task = mine(KnownTarget(rate), batch_size=3)
    _, again, task_again = mine(KnownTarget(rate), batch_size=64)
    assert_frame_equal(prompts, again)
    assert task == task_again


def test_a_rare_outcome_costs_less_than_running_on():
    miner, _, _ = mine(KnownTarget(0.94), per_task=80)
    plain, _, task = mine(
        KnownTarget(0.94), max_tokens=127, per_task=80
    )  # too few for a window of two prompts
    assert plain.survey.passes == 0
    assert plain.passes > 0.7 * 40 / 0.06
    assert (task["kept_correct"], task["kept_incorrect"]) == (40, 40)
    assert miner.passes + miner.survey.passes < plain.passes / 2


def test_an_even_task_is_not_surveyed():
    miner, _, _ = mine(KnownTarget(0.5))
    assert miner.survey.passes == 0
    assert miner.passes < 1.5 * 128


@pytest.mark.parametrize("max_tokens", [4096, 127])
def test_where_a_file_comes_in_the_corpus_says_nothing_of_the_outcome(max_tokens):
    """Candidates that are kept as they come would have the common outcome from the first files alone."""
    areas = []
    order = {file.path: number for number, file in enumerate(FILES)}
    for per_task in (80, 100):
        _, prompts, _ = mine(KnownTarget(0.9), max_tokens, per_task=per_task)
        place = [order[path] for path in prompts["file"]]
        areas.append(roc_auc_score(prompts["correct"], place))
    assert abs(np.mean(areas) - 0.5) < 0.12, areas


def test_no_file_gives_more_of_an_outcome_than_it_may():
    _, prompts, _ = mine(KnownTarget(0.9), per_file=2)
    assert prompts.group_by("file", "correct").len()["len"].max() == 2
    assert prompts["searched"].any()


def test_the_halves_are_matched_where_both_outcomes_are_frequent():
    """The first 120 candidates have enough of each outcome, but not in the same packages."""
    _, _, task = mine(KnownTarget(0.5))
    assert task["kept_matched"] == 120
    assert 120 < task["evaluated"] < 3 * 120


class PackageTarget(KnownTarget):
    """A target that knows the even packages far better than the odd ones."""

    def _correct(self, candidate):
        return bool(_draw(candidate.input_ids) < package_rate(candidate.group))


def package_rate(group):
    return 0.4 if int(group[1:]) % 2 else 0.98


@pytest.mark.parametrize("max_tokens", [4096, 127])
def test_the_package_says_nothing_of_the_outcome(max_tokens):
    """Halves drawn each by itself would take the correct ones from the even packages."""
    _, prompts, _ = mine(PackageTarget(0.7), max_tokens, per_task=80)
    rates = [package_rate(group) for group in prompts["group"]]
    assert roc_auc_score(prompts["correct"], rates) < 0.7
    sign = pl.when("correct").then(1).otherwise(-1)
    by_package = prompts.group_by("group").agg(unmatched=sign.sum().abs())
    assert by_package["unmatched"].sum() <= 0.35 * prompts.height


@pytest.mark.parametrize(("rate", "searched"), [(0.94, True), (0.06, False)])
def test_fill_in_the_middle_prompts_are_surveyed_for_what_is_incorrect(rate, searched):
    """A short prompt fails where the whole one does not, so it is never sure of what is incorrect."""
    settings = {"tasks": ["eol"], "per_task": 80, "encoder_prompts": 8, "length_tokens": 128, "format": "fim"}
    config = StudyConfig.model_validate(
        {"name": "mined", "target": {"batch_size": 8}, "prompts": settings, "encoder": {"patch_size": 16}}
    )
    target = KnownTarget(rate)
    miner = Miner(config, PromptFormatter(FIM_TOKENIZER, "fim", 128), target, 128)
    assert sum(1 for _ in miner.collect(CORPUS)) >= 80 + 8
    (task,) = task_table(miner.collections).iter_rows(named=True)
    assert (task["searched"] > 0) == (miner.survey.passes > 0) == searched
    assert binomtest(task["evaluated_correct"], task["evaluated"], rate).pvalue > 0.001
    if searched:
        assert (task["kept_correct"], task["kept_incorrect"]) == (40, 40)
        assert miner.passes < 0.5 * 40 / (1 - rate)


def test_a_task_gives_up_after_max_candidates_and_says_so():
    miner, prompts, task = mine(KnownTarget(0.999), max_tokens=127, max_candidates=200)
    assert task["evaluated"] <= 208
    assert task["kept_correct"] == 60
    assert prompts.height == 60 + task["kept_incorrect"] < 120
    (note,) = shortfall_notes(miner.collections)
    assert note.startswith(
        f"eol: goes on with 60 correct and {task['kept_incorrect']} incorrect prompts of 60 each ("
    )
    assert "max_candidates" in note


def test_a_surveyed_task_gives_up_with_what_was_found():
    miner, prompts, task = mine(KnownTarget(0.98), max_candidates=900)
    assert miner.survey.passes > 0
    assert 0 < task["kept_incorrect"] < 60
    assert prompts.filter("searched").height > 0
    assert prompts["correct"].null_count() == 0


def test_the_draw_depends_on_the_seed_and_on_nothing_else():
    first, second = (mine(KnownTarget(0.9))[1] for _ in range(2))
    assert first.equals(second)
