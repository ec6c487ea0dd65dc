"""The whole stage on a tiny study: its tables, the heads it ablates, and that it can be killed."""

import polars as pl
import pytest
from helpers.studies import context_of, random_prompts, tiny_study

from apmae.effects import ablation, stage
from apmae.study.artifacts import TASKS

PROMPTS = random_prompts(count=64).with_columns(
    split=pl.when(pl.int_range(pl.len()) // 2 % 3 == 0).then(pl.lit("test")).otherwise(pl.lit("train"))
)


@pytest.fixture
def make_study(tmp_path):
    """A builder of studies that have prompts of two tasks, and no more."""

    def make(name="study", **effects):
        study = tiny_study(tmp_path / name, PROMPTS, effects={"prompts_per_outcome": 3} | effects)
        tasks = [(task, 100, 60, 0.6, 0, 8, 8, 0) for task in ("eol", "identifiers")]
        study.write(TASKS, TASKS.of_rows(tasks))
        return study

    return make


def test_every_head_has_an_effect_on_every_task_and_split(make_study, llama):
    study = make_study()
    counts = stage.run(context_of(study, llama))
    assert (counts["heads"], counts["ablated"], counts["notes"]) == (12, 12, [])
    assert counts["exact_seconds"] > 0 and counts["attribution_seconds"] > 0
    effects = study.effects
    kinds = effects.group_by("task", "split", "operation", "method", "outcome", "weighting").len()
    assert kinds["len"].unique().to_list() == [12]
    on_train = kinds.filter(split="train").select("operation", "method", "outcome").unique()
    assert set(on_train.rows()) == {
        ("zero", "exact", "log_probability"),
        ("zero", "exact", "correct"),
        ("zero", "attribution", "log_probability"),
    }
    held_out = kinds.filter(split="test")
    assert set(held_out["operation"]) == {"zero", "mean"}
    assert set(held_out["weighting"]) == {"balanced", "base_rate"}
    assert effects.filter(outcome="correct")["value"].is_between(-1, 1).all()
    agreement = study.effect_agreement
    assert agreement.select("task", "split").n_unique() == 4
    assert (agreement["rank_correlation"] > 0.5).all()


def test_exact_effects_are_those_of_a_head_ablated_alone(make_study, llama):
    study = make_study(operations=["zero"])
    stage.run(context_of(study, llama))
    prompts = stage.held_out_prompts(study.study_prompts, "eol", "test", 3)
    ids, true = prompts["input_ids"].to_list(), prompts["next_token_id"].to_list()

    def log_probability():
        return llama.logits(ids).log_softmax(-1)[range(len(true)), true].numpy()

    before = log_probability()
    with llama.scale_heads({(1, 2): 0.0}):
        change = log_probability() - before
    correct = prompts["correct"].to_numpy()
    expected = {
        "balanced": (change[correct].mean() + change[~correct].mean()) / 2,
        "base_rate": 0.6 * change[correct].mean() + 0.4 * change[~correct].mean(),
    }
    found = study.effects.filter(
        task="eol", split="test", method="exact", outcome="log_probability", layer=1, head=2
    )
    assert dict(found.select("weighting", "value").rows()) == pytest.approx(expected, abs=1e-5)


def test_some_heads_are_ablated_and_all_are_attributed(make_study, llama):
    study = make_study(exact_heads=6, operations=["zero"])
    assert stage.run(context_of(study, llama))["ablated"] == 6
    of_one = study.effects.filter(task="eol", split="test", outcome="log_probability", weighting="balanced")
    assert of_one["method"].value_counts(sort=True).rows() == [("attribution", 12), ("exact", 6)]
    attribution, exact = (of_one.filter(method=method) for method in ("attribution", "exact"))
    assert attribution.filter(pl.col("inclusion") > 0).height == 6
    assert exact["inclusion"].is_in([1.0, 2 / 8]).all()
    on_train = study.effects.filter(task="eol", split="train", method="attribution", weighting="balanced")
    extremes = on_train.sort("value").select("layer", "head").rows()
    assert {*extremes[:2], *extremes[-2:]} <= set(exact.select("layer", "head").rows())


def test_a_killed_stage_goes_on_and_gives_the_same(make_study, llama, monkeypatch):
    whole, killed = make_study("whole"), make_study("killed")
    stage.run(context_of(whole, llama))
    done = []

    def dies(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments)
        return ablation.exact_effects(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "exact_effects", dies)
        with pytest.raises(KeyboardInterrupt):
            stage.run(context_of(killed, llama))

    def attributed_again(*_arguments):
        raise AssertionError("the attribution was there")

    monkeypatch.setattr(stage, "attributed_effects", attributed_again)
    calls = []
    monkeypatch.setattr(
        stage, "exact_effects", lambda *given: calls.append(1) or ablation.exact_effects(*given)
    )
    stage.run(context_of(killed, llama))
    assert len(calls) == 6 - 2  # two tasks: zero ablation on both splits, mean ablation on one
    assert killed.effects.equals(whole.effects)
    assert killed.effect_agreement.equals(whole.effect_agreement)


def test_a_target_without_gradients_is_ablated_head_by_head(make_study, llama):
    study = make_study(exact_heads=3, operations=["zero"])
    vars(llama)["has_gradients"] = False
    counts = stage.run(context_of(study, llama))
    assert counts["ablated"] == 12
    assert counts["notes"] == ["tiny-llama gives no gradients: all heads are ablated, none is attributed"]
    assert study.effects["method"].unique().to_list() == ["exact"]
    assert study.effect_agreement.is_empty()


def test_no_prompts_no_effects(make_study):
    study = make_study(prompts_per_outcome=0)
    assert stage.run(context_of(study)) == {"heads": 0}
    assert study.effects.is_empty() and study.effect_agreement.is_empty()
