"""Mining on a small Java corpus: what is kept, what is counted, and what is said when it falls short."""

import polars as pl
import pytest
from miniature import write_corpus, write_target

from apmae import mining
from apmae.config import StudyConfig
from apmae.errors import ApmaeError
from apmae.progress import silent
from apmae.study import Study
from apmae.target import Target


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    write_corpus(directory)
    return directory


@pytest.fixture(scope="module")
def target(corpus, tmp_path_factory):
    directory = tmp_path_factory.mktemp("target")
    write_target(directory, corpus)
    return Target.load(str(directory), dtype="float32", device="cpu")


@pytest.fixture
def mine(corpus, target, tmp_path):
    """Mine with changed prompts settings: -> (study, counts)."""

    def call(path=corpus, track=silent, **prompts):
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
                "directory": str(tmp_path / "run"),
                "target": {"batch_size": 4},
                "corpus": {"source": "directory", "path": str(path)},
                "prompts": settings,
                "encoder": {"patch_size": 16},
            }
        )
        study = Study.create(config)
        return study, mining.run(study, "key", track, target)

    return call


def test_outcomes_are_the_targets_own(mine, target):
    study, _ = mine()
    prompts = study.study_prompts
    predicted = target.logits(prompts["input_ids"].to_list()).argmax(-1)
    assert prompts["predicted_id"].to_list() == predicted.tolist()
    assert (prompts["correct"] == (prompts["predicted_id"] == prompts["target_id"])).all()
    assert (prompts["max_probability"] >= prompts["target_probability"]).all()
    assert prompts.filter("correct").height == prompts.height // 2 == 4


def test_the_natural_rate_is_over_all_that_was_evaluated(mine):
    study, counts = mine()
    row = study.tasks.row(0, named=True)
    assert row["natural_rate"] == row["evaluated_correct"] / row["evaluated"]
    encoder = study.prompts.filter(purpose="encoder").height
    assert counts["prompts_evaluated"] >= row["evaluated"] + encoder
    assert (row["kept_correct"], row["kept_wrong"]) == (4, 4)


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
    right, wrong = kept["kept_correct"], kept["kept_wrong"]
    assert (
        f"{kept['task']}: goes on with {right} right and {wrong} wrong prompts of 1000 each"
        in counts["notes"]
    )
    per_file = study.study_prompts.group_by("file").len()
    assert per_file["len"].max() == 2
    assert kept["evaluated"] == 2 * 40  # every file was asked for all it may give


def test_duplicates_and_unusable_files_are_skipped_and_counted(mine, corpus, tmp_path):
    other = tmp_path / "other"
    (other / "p").mkdir(parents=True)
    text = (corpus / "p0" / "C0.java").read_text()
    (other / "p" / "A.java").write_text(text)
    (other / "p" / "B.java").write_text(text.replace("\n", "\r\n"), newline="")
    (other / "p" / "C.java").write_text("")
    (other / "p" / "D.java").write_bytes(b"class \xff\xfe {}")
    _, counts = mine(other, per_task=4)
    assert counts["files_skipped"] == {"duplicate": 1, "empty": 1, "not UTF-8": 1}
    assert any(note.startswith("files skipped: 1 ") for note in counts["notes"])


def test_files_too_short_for_the_length_are_one_clear_line(mine, tmp_path):
    short = tmp_path / "short"
    short.mkdir()
    (short / "A.java").write_text("class A { int a = 1; }\n")
    with pytest.raises(
        ApmaeError, match=r"no prompt could be made .*too few tokens.*lower prompts\.length_tokens"
    ):
        mine(short)


def test_noise_has_no_correctness(mine, target):
    study, _ = mine(tasks=["eol", "noise"])
    noise = study.study_prompts.filter(task="noise")
    assert noise.height == 8
    assert noise["correct"].null_count() == noise["target_id"].null_count() == 8
    assert noise["entropy"].null_count() == 0
    row = study.tasks.filter(task="noise").row(0, named=True)
    assert row["natural_rate"] != row["natural_rate"]


def test_a_killed_stage_goes_on_after_its_last_round(mine, tmp_path):
    def killed(items, description, total=None, **_):
        for count, item in enumerate(items, start=1):
            yield item
            if count == 10:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        mine(track=killed, per_task=24, encoder_prompts=24)
    rounds = list((tmp_path / "run" / "work" / "prompts").glob("files-*.parquet"))
    assert rounds
    resumed, _ = mine(per_task=24, encoder_prompts=24)
    prompts = resumed.prompts
    for path in (tmp_path / "run").glob("*.parquet"):
        path.unlink()
    again, _ = mine(per_task=24, encoder_prompts=24)
    assert prompts.equals(again.prompts, null_equal=True)


def test_splits_do_not_cut_groups_and_have_about_the_fraction_asked(mine):
    study, _ = mine()
    splits = [mining.split_of(f"group {number}", study.config) for number in range(2_000)]
    assert splits.count("test") / 2_000 == pytest.approx(0.25, abs=0.03)
    assert study.prompts.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
