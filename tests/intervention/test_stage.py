"""The whole stage on a tiny study: what it writes, that it can be killed, and side effects."""

import polars as pl
import pytest
import torch
from helpers.studies import context_of, random_prompts, tiny_study

from apmae.intervention import Intervention, experiment, gate_search, side_effects, stage
from apmae.intervention.conditions import Condition
from apmae.intervention.resampling import Resampling
from apmae.report.chosen import chosen_effects
from apmae.study import Study
from apmae.study.artifacts import BEST, EFFECTS, IMPORTANCE, PREDICTIONS, PROMPTS, TASKS
from apmae.study.config import StudyConfig

TASKS_TABLE = pl.DataFrame({"task": ["eol", "identifiers"], "base_rate": [0.5, 0.5]})
TABLES = ("learned_gates", "conditions", "interventions", "choices", "side_effects", "generated")


@pytest.fixture
def make_study(llama):
    """A builder of studies that lack nothing but interventions; half of the prompts are correct."""

    def make(directory, **intervention):
        prompts = random_prompts(count=120)
        with torch.inference_mode():
            predicted = llama.logits(prompts["input_ids"].to_list()).argmax(-1).tolist()
        number = pl.int_range(pl.len()) // 2  # two tasks take turns
        prompts = prompts.with_columns(predicted_id=pl.Series(predicted, dtype=pl.Int32)).with_columns(
            next_token_id=pl.when(number % 2 == 0).then("predicted_id").otherwise(1),
            correct=number % 2 == 0,
            split=pl.when(number % 3 == 0).then(pl.lit("test")).otherwise(pl.lit("train")),
        )
        prompts = prompts.with_columns(true_ids=pl.concat_list("next_token_id"))
        sections = {"head_counts": [1, 4], "random_seeds": 1, "greedy_candidates": 3, "greedy_heads": 2}
        sections |= {"gate_steps": 4, "generated_holes": 0}
        study = tiny_study(directory, prompts, intervention=sections | intervention)
        heads = [(layer, head) for layer in range(3) for head in range(4)]
        rows = [
            (task, "clusters", *head, 1.0 / (number + 1), 0.1 * number, -0.2, 0.1 * number, 0.0, 1.0, 1.0)
            for task in ("eol", "identifiers")
            for number, head in enumerate(heads)
        ]
        importance = IMPORTANCE.of_rows(rows)
        study.write(IMPORTANCE, importance)
        predictions = study.study_prompts.filter(split="test").select(
            "prompt_id",
            "task",
            protocol=pl.lit("held_out"),
            features=pl.lit("confidence"),
            fold=0,
            probability=0.5,
        )
        study.write(PREDICTIONS, predictions)
        study.write(
            TASKS, TASKS.of_rows((task, 100, 50, 0.5, 0, 30, 30, 60) for task in ("eol", "identifiers"))
        )
        effects = [
            (task, *head, "train", "zero", "exact", "log_probability", "balanced", 0.1, 0.0, 0.2, 6, 1.0)
            for task in ("eol", "identifiers")
            for head in heads[:5]
        ]
        study.write(EFFECTS, EFFECTS.of_rows(effects))
        return study

    return make


def tables(study):
    return {name: getattr(study, name) for name in TABLES}


def test_every_condition_meets_every_tuning_prompt_and_every_held_out_prompt(make_study, llama, tmp_path):
    study = make_study(tmp_path, tuning_prompts_per_outcome=3)
    counts = stage.run(context_of(study, llama))
    interventions, conditions = study.interventions, study.conditions
    assert counts["conditions"] == conditions.height
    assert set(conditions["selection"]) >= {"positive", "negative", "neutral", "random"}
    assert conditions["heads"].list.len().to_list() == (
        interventions.group_by("condition")
        .agg(pl.col("n_heads").first())
        .sort("condition")["n_heads"]
        .to_list()
    )
    by_task = interventions.group_by("task", "condition", "split").agg(
        pl.col("prompt_id").n_unique(), pl.len()
    )
    assert (by_task["prompt_id"] == by_task["len"]).all()
    assert set(by_task.filter(split="train")["len"]) == {6}
    assert set(by_task.filter(split="train")["condition"]) == set(conditions["condition"])
    assert set(by_task.filter(split="test")["condition"]) == set(conditions["condition"])
    held_out = study.study_prompts.filter(split="test").group_by("task").len()
    assert set(by_task.filter(split="test").select("task", "len").rows()) == set(held_out.rows())
    joined = interventions.join(study.prompts, on="prompt_id")
    assert (joined["split"] == joined["split_right"]).all()
    assert (joined["correct_after"] == (joined["predicted_id"] == joined["next_token_id"])).all()
    assert (joined["correct_before"] == (joined["predicted_before"] == joined["next_token_id"])).all()
    assert (joined["predicted_before"] == joined["predicted_id_right"]).all()  # here all batches agree
    assert interventions["gate_probability"].null_count() == 0


def test_a_row_is_what_the_target_does_under_its_condition(make_study, llama, tmp_path):
    study = make_study(tmp_path, tuning_prompts_per_outcome=2, operations=["mean"], selections=["neutral"])
    stage.run(context_of(study, llama))
    of_task = study.interventions.filter(split="train").group_by("task", maintain_order=True).first()
    assert of_task.height == 2
    tuning = study.interventions.filter(split="train")["prompt_id"].unique(maintain_order=True)
    ids = study.prompts.filter(pl.col("prompt_id").is_in(tuning.implode()))["input_ids"].to_list()
    means = llama.mean_head_outputs([ids])
    for row in study.interventions.iter_rows(named=True):
        heads = study.conditions["heads"][row["condition"]].to_list()
        prompt = study.prompts.filter(prompt_id=row["prompt_id"])["input_ids"].to_list()
        with llama.scale_heads({tuple(head): 0.0 for head in heads}, means):
            assert row["predicted_id"] == int(llama.logits(prompt).argmax())


def test_outcomes_before_are_of_the_same_batch_not_those_that_prompts_were_mined_with(
    make_study, llama, tmp_path
):
    """Mined outcomes of another batch, or of a tie, differ: they must not count as changes."""
    study = make_study(tmp_path, selections=["positive"], operations=["scale"], factors=[1.0])
    mined = study.prompts
    study.write(PROMPTS, mined.with_columns(correct=pl.col("correct") != (pl.col("prompt_id") % 5 == 0)))
    stage.run(context_of(study, llama))
    table = study.interventions
    assert (table["correct_before"] == table["correct_after"]).all()
    joined = table.join(mined.select("prompt_id", "correct"), on="prompt_id")
    assert (joined["correct_before"] == joined["correct"]).all()
    assert study.choices.is_empty()


def test_conditions_that_do_the_same_are_run_once(make_study, llama, tmp_path, monkeypatch):
    """With all 12 heads, the positive, the negative, the neutral and the random ones are the same."""
    run_block, ran = stage.run_block, []

    def counting(experiment, block):
        ran.extend(condition for _, condition in block if len(condition.heads) == 12)
        return run_block(experiment, block)

    monkeypatch.setattr(stage, "run_block", counting)
    importance = {"selections": ["positive", "negative", "neutral", "random"], "operations": ["zero"]}
    study = make_study(tmp_path, head_counts=[12], **importance)
    study.write(IMPORTANCE, study.importance.with_columns(mean_positive=0.1))
    stage.run(context_of(study, llama))
    assert sorted((made.task, made.selection) for made in ran) == [
        ("eol", "positive"),
        ("identifiers", "positive"),
    ]
    outcomes = ["task", "split", "prompt_id", "correct_after", "predicted_id"]
    by_selection = {
        name: study.interventions.filter(selection=name, seed=0)
        for name in ("positive", "negative", "neutral", "random")
    }
    for name in ("negative", "neutral", "random"):
        assert by_selection[name].select(outcomes).equals(by_selection["positive"].select(outcomes)), name
    assert study.interventions["condition"].n_unique() == study.conditions.height == 2 * (3 + 3)


def test_a_killed_stage_goes_on_and_ends_equal(make_study, llama, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "BLOCK_CONDITIONS", 3)
    real, whole, runs = experiment.run_conditions, [], []
    monkeypatch.setattr(experiment, "run_conditions", lambda *arguments: whole.append(0) or real(*arguments))
    expected = make_study(tmp_path / "whole")
    stage.run(context_of(expected, llama))
    study = make_study(tmp_path / "killed")

    def killed_after(most):
        def run(*arguments):
            if len(runs) == most:
                raise KeyboardInterrupt
            runs.append(0)
            return real(*arguments)

        return run

    for most in (1, 3, 6):  # in greedy selection, and in blocks
        monkeypatch.setattr(experiment, "run_conditions", killed_after(most))
        with pytest.raises(KeyboardInterrupt):
            stage.run(context_of(study, llama))
    monkeypatch.setattr(experiment, "run_conditions", killed_after(1000))
    stage.run(context_of(study, llama))
    assert len(runs) == len(whole)  # nothing ran twice
    for name, table in tables(expected).items():
        assert table.equals(getattr(study, name)), name


def test_gates_are_learned_on_training_prompts_that_choose_nothing(make_study, llama, tmp_path, monkeypatch):
    study = make_study(tmp_path, gate_penalties=[0.003, 0.1], tuning_prompts_per_outcome=5)
    real, searches = gate_search.learn_gates, []

    def learn(target, prompts, weights, code, *arguments, **options):
        searches.append((prompts, weights, code, options["penalised"]))
        return real(target, prompts, weights, code, *arguments, **options)

    monkeypatch.setattr(gate_search, "learn_gates", learn)
    stage.run(context_of(study, llama))
    assert [penalised for *_, penalised in searches] == ["closed", "closed", "open"] * 2
    chosen = set(study.interventions.filter(split="train")["prompt_id"])
    for prompts, weights, code, _ in searches:
        assert set(prompts["split"]) == {"train"} and not chosen & set(prompts["prompt_id"])
        right = prompts["correct"].to_numpy()
        assert weights[right].sum() == pytest.approx(weights[~right].sum())  # a base rate of a half
        assert set(code["purpose"]) == {"encoder"} and set(code["split"]) == {"train"}
    gates = study.learned_gates
    assert gates.group_by("task").len()["len"].to_list() == [12, 12]
    assert gates["verdict"].is_in(["facilitating", "interfering", "irrelevant"]).all()
    conditions = study.conditions.filter(selection="learned_gates")
    assert conditions["operation"].unique().to_list() == ["gates"]
    first = conditions.row(0, named=True)
    by_head = {
        (layer, head): gate
        for layer, head, gate in gates.filter(task="eol").select("layer", "head", "retained").rows()
    }
    assert first["gates"] == pytest.approx([by_head[tuple(head)] for head in first["heads"]])
    assert all(0 <= gate < 1 for gate in first["gates"])


def test_a_target_without_gradients_learns_no_gates_and_says_so(make_study, llama, tmp_path):
    study = make_study(tmp_path, selections=["positive", "random", "learned_gates"])
    vars(llama)["has_gradients"] = False
    counts = stage.run(context_of(study, llama))
    assert counts["notes"] == ["tiny-llama gives no gradients, so no gates are learned"]
    assert study.learned_gates.is_empty()
    assert "learned_gates" not in set(study.conditions["selection"])


def test_the_best_intervention_is_saved_as_it_was_run(make_study, llama, tmp_path):
    study = make_study(tmp_path)
    stage.run(context_of(study, llama))
    tasks = sorted(path.name for path in study.path(BEST).iterdir())
    ungated = study.choices.filter(pl.col("method") != "gated")
    assert tasks == sorted(set(ungated["task"]))
    for task in tasks:
        best = Intervention.best_of(study, task)
        most = ungated.filter(task=task)["tuning_net_change"].max()
        chosen = ungated.filter(task=task, tuning_net_change=most)["condition"].to_list()
        heads = [study.conditions["heads"][number].to_list() for number in chosen]
        assert [list(head) for head in best.heads] in heads
        assert best.target == study.config.target


@pytest.mark.parametrize(("measured", "left"), [("test", "development"), ("development", "test")])
def test_interventions_are_measured_on_one_split_and_leave_the_other_alone(
    make_study, llama, tmp_path, measured, left
):
    study = make_study(tmp_path, head_counts=[2], operations=["zero"])
    other = pl.when(split="test").then(pl.lit(measured)).otherwise("split")
    renamed = study.prompts.with_columns(split=other)
    few = pl.when(pl.col("prompt_id") % 7 == 0).then(pl.lit(left)).otherwise("split")
    study.write(PROMPTS, renamed.with_columns(split=few))
    prompts = study.config.prompts.model_dump() | {"development_fraction": 0.2}
    values = study.config.model_dump() | {"prompts": prompts, "measured_split": measured}
    study = Study.create(StudyConfig.model_validate(values))
    stage.run(context_of(study, llama))
    splits = study.prompts.select("prompt_id", in_split="split")
    assert set(study.interventions["split"]) == {"train", measured}
    assert set(study.interventions.join(splits, on="prompt_id")["in_split"]) == {"train", measured}
    condition = Condition("eol", "clusters", "random", 0, Intervention(((0, 0),)))
    elsewhere = side_effects.side_effects(study, llama, condition, None).join(splits, on="prompt_id")
    assert left not in set(elsewhere["in_split"])
    chosen = chosen_effects(study.interventions, study.choices, TASKS_TABLE, Resampling.of(study))
    of_task = study.interventions.filter(task="eol", split=measured)["prompt_id"].n_unique()
    assert set(chosen.filter(task="eol")["prompts"]) == {of_task}


def test_a_task_without_importance_is_left_out(make_study, llama, tmp_path):
    study = make_study(tmp_path)
    study.write(IMPORTANCE, study.importance.filter(task="eol"))
    assert stage.run(context_of(study, llama))["tasks"] == ["eol"]
    study.write(IMPORTANCE, study.importance.clear())
    assert stage.run(context_of(study, llama, key="other"))["conditions"] == 0
    assert study.interventions.is_empty()


def test_side_effects_are_of_the_other_tasks_and_of_random_code(make_study, llama, tmp_path):
    study = make_study(tmp_path, side_effect_prompts=6)
    condition = Condition("eol", "clusters", "random", 0, Intervention(((0, 0), (1, 2))))
    table = side_effects.side_effects(study, llama, condition, None)
    assert set(table["task"]) == {"eol"}
    assert {name[0]: rows.height for name, rows in table.group_by("measured_on")} == {
        "identifiers": 6,
        "random code": 6,
    }
    prompts = study.prompts.select("prompt_id", "purpose", "split", "correct", "input_ids", "next_token_id")
    for row in table.join(prompts, on="prompt_id").iter_rows(named=True):
        ids = torch.tensor([row["input_ids"]])
        with llama.scale_heads(dict.fromkeys(condition.heads, 0.0)), torch.inference_mode():
            logits = llama.model(input_ids=ids).logits[0]
        if row["measured_on"] == "identifiers":
            assert row["split"] == "test"
            assert row["before"] == row["correct"]
            assert row["after"] == (int(logits[-1].argmax()) == row["next_token_id"])
        else:
            assert row["purpose"] == "encoder"
            losses = -logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])
            assert row["after"] == pytest.approx(float(losses.mean()), rel=1e-5)
            assert row["before"] != pytest.approx(row["after"], rel=1e-6)
