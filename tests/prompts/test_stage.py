"""Mining on a small Java corpus: what is kept, what is counted, and what is said when it falls short."""

import shutil

import polars as pl
import pytest
import torch
from helpers.studies import context_of

from apmae.common.errors import ApmaeError
from apmae.common.progress import silent
from apmae.prompts import formats, stage
from apmae.study import Study
from apmae.study.artifacts import TASKS
from apmae.study.config import StudyConfig


@pytest.fixture
def mine(corpus, target, tmp_path):
    """Mine with changed prompts settings: -> (study, counts)."""

    def call(path=corpus, progress=silent, directory="run", **prompts):
        settings = {
            "tasks": ["identifiers"],
            "per_task": 8,
            "encoder_prompts": 8,
            "length_tokens": 64,
            **prompts,
        }
        config = StudyConfig.model_validate(
            {
                "name": "mined",
                "directory": str(tmp_path / directory),
                "target": {"batch_size": 4},
                "corpus": {"source": "directory", "path": str(path)},
                "prompts": settings,
                "encoder": {"patch_size": 16},
            }
        )
        study = Study.create(config)
        return study, stage.run(context_of(study, target, progress=progress))

    return call


def test_outcomes_are_the_targets_own(mine, target):
    study, _ = mine()
    prompts = study.study_prompts
    predicted = target.logits(prompts["input_ids"].to_list()).argmax(-1)
    assert prompts["predicted_id"].to_list() == predicted.tolist()
    assert (prompts["correct"] == (prompts["predicted_id"] == prompts["next_token_id"])).all()
    assert (prompts["max_probability"] >= prompts["next_token_probability"]).all()
    assert prompts.filter("correct").height == prompts.height // 2 == 4


def test_whole_holes_are_correct_where_greedy_decoding_writes_them(mine, target):
    study, _ = mine(tasks=["identifiers", "random"], per_task=60, outcome="whole_hole")
    prompts = study.study_prompts
    first_right = prompts["predicted_id"] == prompts["next_token_id"]
    for row in prompts.iter_rows(named=True):
        ids = torch.tensor([row["input_ids"]])
        count = len(row["true_ids"])
        options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": count}
        written = target.model.generate(ids, **options)[0, ids.shape[1] :].tolist()
        assert row["correct"] == (written == row["true_ids"])
        assert row["text"] in target.tokenizer.decode(row["true_ids"])
        assert row["next_token_id"] == row["true_ids"][0]
    assert (prompts["true_ids"].list.len() > 1).any()
    assert (first_right & ~prompts["correct"]).any()  # what the first token alone would call correct
    assert prompts["correct"].any()


def test_holes_too_long_to_be_written_are_skipped_and_counted(mine, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST_HOLE", 4)
    study, counts = mine(tasks=["random"], per_task=20, outcome="whole_hole")
    assert study.study_prompts["true_ids"].list.len().max() <= 4
    assert counts["holes_skipped"]["too long"] > 0


def test_the_natural_rate_is_over_all_that_was_evaluated(mine):
    study, counts = mine()
    row = study.tasks.row(0, named=True)
    assert row["base_rate"] == row["evaluated_correct"] / row["evaluated"]
    encoder = study.prompts.filter(purpose="encoder").height
    assert counts["prompts_evaluated"] >= row["evaluated"] + encoder
    assert (row["kept_correct"], row["kept_incorrect"]) == (4, 4)


def test_encoder_prompts_come_last_and_keep_their_natural_rate(mine):
    study, _ = mine(encoder_prompts=20)
    assert study.prompts["prompt_id"].to_list() == list(range(28))
    assert study.prompts["purpose"].to_list()[:8] == ["study"] * 8
    encoder = study.prompts.filter(purpose="encoder")
    assert encoder.height == 20
    assert set(encoder["task"]) == {"random"}


def test_a_task_that_falls_short_goes_on_and_says_so(mine):
    study, counts = mine(per_task=2_000, per_file=2)
    assert counts["files_read"] == 40
    kept = study.tasks.row(0, named=True)
    right, wrong = kept["kept_correct"], kept["kept_incorrect"]
    assert (
        f"{kept['task']}: goes on with {right} correct and {wrong} incorrect prompts of 1000 each "
        "(the corpus has no more)" in counts["notes"]
    )
    assert study.study_prompts.group_by("file").len()["len"].max() == 2
    assert kept["evaluated"] == 2 * 40  # every file was asked for all it may give


def test_files_that_are_dropped_are_counted_by_reason(mine, corpus, tmp_path):
    other = tmp_path / "other"
    for number in range(8):
        (other / f"p{number}").mkdir(parents=True)
    text = (corpus / "p0" / "C0.java").read_text()
    (other / "p2" / "A.java").write_text(text)
    (other / "p3" / "B.java").write_text(text.replace("\n", "\r\n"), newline="")
    (other / "p4" / "C.java").write_text("")
    (other / "p5" / "D.java").write_bytes(b"class \xff\xfe {}")
    (other / "p6" / "E.java").write_text(text.replace('"', '"another string, '))
    (other / "p7" / "F.java").write_text("// Generated by a program\n" + text)
    (other / "p0" / "G.java").write_text("// a licence and nothing else\n")
    (other / "p1" / "H.java").write_text("class H{" + "void f(){g();}" * 100 + "}")
    _, counts = mine(other, per_task=4)
    assert counts["files_read"] == 8
    kept_by_order = counts["files_skipped"].pop("duplicate", 0) + counts["files_skipped"].pop(
        "near duplicate"
    )
    assert kept_by_order == 2  # of A, B and E the first one stays
    assert counts["files_skipped"] == {
        "empty": 1,
        "not UTF-8": 1,
        "generated": 1,
        "no code": 1,
        "minified": 1,
    }
    assert [note for note in counts["notes"] if note.startswith("files skipped: ")] == [counts["notes"][0]]


def test_files_too_short_for_the_length_are_one_clear_line(mine, tmp_path):
    short = tmp_path / "short"
    for number in range(8):
        (short / f"p{number}").mkdir(parents=True)
        (short / f"p{number}" / "A.java").write_text(f"class A {{ int a = {number}; }}\n")
    with pytest.raises(
        ApmaeError, match=r"no prompt could be made .*too few tokens.*lower prompts\.length_tokens"
    ):
        mine(short)


def test_noise_has_no_correctness(mine, target):
    study, _ = mine(tasks=["eol", "noise"])
    noise = study.study_prompts.filter(task="noise")
    assert noise.height == 8
    assert noise["correct"].null_count() == noise["next_token_id"].null_count() == 8
    assert noise["entropy"].null_count() == 0
    row = study.tasks.filter(task="noise").row(0, named=True)
    assert row["base_rate"] != row["base_rate"]


def test_a_killed_stage_goes_on_after_its_last_round(mine, corpus, target, tmp_path, monkeypatch):
    """With a near duplicate of every file, so that the index of a killed run matters after it."""
    doubled = tmp_path / "doubled"
    shutil.copytree(corpus, doubled / "a")
    shutil.copytree(corpus, doubled / "b")
    for path in (doubled / "b").rglob("*.java"):
        path.write_text(path.read_text().replace('"', '"another string, '))
    evaluated = []
    logits_at = target.logits_at
    monkeypatch.setattr(target, "logits_at", lambda ids, at: evaluated.extend(ids) or logits_at(ids, at))
    settings = {"path": doubled, "per_task": 40, "encoder_prompts": 120}

    def killed(items, description, total=None, **_):
        for count, item in enumerate(items, start=1):
            yield item
            if count == 60:
                raise InterruptedError

    unkilled, counts = mine(**settings, directory="unkilled")
    whole = len(evaluated)
    evaluated.clear()
    with pytest.raises(InterruptedError):
        mine(**settings, progress=killed)
    assert len(list((tmp_path / "run" / "work" / "prompts").glob("answer-*.parquet"))) > 10
    resumed, counts_resumed = mine(**settings)
    assert resumed.prompts.equals(unkilled.prompts, null_equal=True)
    assert counts_resumed == counts
    assert len(evaluated) == whole
    assert counts["files_skipped"]["near duplicate"] > 5


def test_splits_do_not_cut_groups_and_have_about_the_fraction_asked(mine):
    study, _ = mine()
    splits = [stage.split_of(f"group {number}", study.config) for number in range(2_000)]
    assert splits.count("test") / 2_000 == pytest.approx(0.25, abs=0.03)
    assert study.prompts.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1


def test_ties_are_counted_and_said(mine, target, monkeypatch):
    def two_tokens_first(input_ids, positions, _logits_at=target.logits_at):
        logits = _logits_at(input_ids, positions).clone()
        logits[..., :2] = logits.max() + 1
        return logits

    _, counts = mine(directory="plain")
    assert counts["ties"] == 0
    monkeypatch.setattr(target, "logits_at", two_tokens_first)
    _, counts = mine(directory="tied", tasks=["noise"])
    assert counts["ties"] == counts["prompts_kept"] == 16
    assert "two tokens tie for the most probable one in 16 of the prompts kept" in counts["notes"]


def test_a_corpus_of_one_group_is_refused_before_anything_runs(mine, tmp_path, corpus, monkeypatch):
    one = tmp_path / "one package"
    one.mkdir()
    for number, file in enumerate(sorted(corpus.rglob("*.java"))):
        shutil.copy(file, one / f"File{number}.java")
    monkeypatch.setattr(stage, "Miner", None)
    with pytest.raises(ApmaeError, match=r" 1 in number, .*: name a corpus with more groups$"):
        mine(one)
    monkeypatch.setattr(stage, "split_of", lambda group, config: "train")
    with pytest.raises(ApmaeError, match=r"name a corpus with more groups, or another seed$"):
        mine(corpus, directory="other")
    monkeypatch.setattr(stage, "FILES_LOOKED_AT", 3)
    with pytest.raises(TypeError):  # several groups so far: mining begins
        mine(corpus, directory="third")


def test_prompts_without_a_partner_are_told():
    tasks = TASKS.of_rows([("eol", 9, 5, 5 / 9, 0, 4, 4, 6), ("identifiers", 9, 5, 5 / 9, 0, 4, 4, 8)])
    assert stage.pairing_notes(tasks) == [
        "eol: 6 of 8 prompts have a partner of the other outcome in their package"
    ]
