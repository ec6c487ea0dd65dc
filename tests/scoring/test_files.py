"""Holes of files: which ones, where they are, and that they are those that a study mines."""

from collections import Counter
from copy import copy
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.prompts import PromptFormatter
from apmae.scoring import score_files
from apmae.scoring.files import file_holes

TASKS = ("eol", "identifiers")


def holes(scorer, source, tasks=TASKS, limit=100, name="C0.java"):
    return file_holes(Path(name), source, scorer.study.config, scorer.formatter, tasks, limit)


def test_a_hole_is_where_its_text_stands(scorer, unseen):
    lines = unseen.read_text().splitlines(keepends=True)
    found = holes(scorer, unseen.read_text(), ("eol", "identifiers", "random"))
    assert {hole.task for hole in found} == {"eol", "identifiers", "random"}
    for hole in found:
        following = "".join(lines[hole.line - 1 :])[hole.column - 1 :]
        assert following.startswith(hole.text)
        assert len(hole.prompt.input_ids) == 64
    assert [(hole.line, hole.column) for hole in found] == sorted((hole.line, hole.column) for hole in found)


def test_holes_make_the_prompts_that_the_study_mined(study, scorer):
    mined = study.study_prompts.filter(task="identifiers").row(0, named=True)
    source = (Path(study.config.corpus.path) / mined["file"]).read_text()
    found = [hole for hole in holes(scorer, source) if hole.line == mined["line"]]
    wanted = (tuple(mined["input_ids"]), mined["next_token_id"], mined["text"])
    assert wanted in [(hole.prompt.input_ids, hole.prompt.next_token_id, hole.text) for hole in found]


def test_a_limit_spreads_over_the_file(scorer, unseen):
    every = [hole for hole in holes(scorer, unseen.read_text()) if hole.task == "eol"]
    some = holes(scorer, unseen.read_text(), ("eol",), limit=4)
    count = len(every)
    assert count > 20
    assert some == [every[number * count // 4] for number in range(4)]
    assert holes(scorer, unseen.read_text(), ("eol",), limit=count) == every


def test_random_holes_are_the_same_each_time_and_differ(scorer, unseen):
    first = holes(scorer, unseen.read_text(), ("random",), limit=5)
    assert first == holes(scorer, unseen.read_text(), ("random",), limit=5)
    assert len({(hole.line, hole.column) for hole in first}) > 1
    assert first != holes(scorer, unseen.read_text(), ("random",), limit=5, name="Other.java")


def test_files_are_scored_in_order_and_correctness_is_the_targets(scorer, unseen):
    ((path, scored),) = score_files(scorer, [unseen], ["eol"], limit=11)
    assert path == unseen
    assert [one.hole for one in scored] == holes(scorer, unseen.read_text(), ("eol",), limit=11)
    for one in scored:
        ids = [list(one.hole.prompt.input_ids)]
        predicted = int(scorer.target.logits(ids).argmax())
        assert one.score.predicted_id == predicted
        assert one.correct == (predicted == one.hole.prompt.next_token_id)
        assert one.completion == scorer.target.tokenizer.decode([predicted])
    assert {one.correct for one in scored} == {True, False}


def test_whole_holes_are_compared_up_to_the_first_wrong_token(scorer, unseen):
    whole = copy(scorer)
    whole.formatter = PromptFormatter(scorer.target.tokenizer, "causal", 64, "whole_hole")
    ((_, scored),) = score_files(whole, [unseen], ["identifiers", "random"], limit=20)
    lengths = Counter()
    for one in scored:
        prompt = one.hole.prompt
        written = []
        while len(written) < len(prompt.true_ids) and written == list(prompt.true_ids[: len(written)]):
            written.append(int(scorer.target.logits([[*prompt.input_ids, *written]]).argmax()))
        assert one.correct == (written == list(prompt.true_ids))
        assert one.completion == scorer.target.tokenizer.decode(written)
        lengths[one.correct, len(written) > 1] += 1
    assert lengths[False, True] > 0  # right at first, then wrong
    assert lengths[True, True] + lengths[True, False] > 0


WRONG = {
    "another language": ("a.py", "x = 1\n", "a.py is no .java file, and the study is of java"),
    "no code": ("package-info.java", "package a;\n", "package-info.java is a file of declarations"),
    "too short": ("A.java", "class A {\n}\n", "A.java has no hole of eol, identifiers, random with the 64 "),
    "not there": ("None.java", None, "None.java: no such file"),
    "empty": ("E.java", " \n", "E.java is empty"),
}


@pytest.mark.parametrize(("name", "text", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_cannot_be_scored_is_named_at_once(scorer, unseen, tmp_path, name, text, message):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ApmaeError) as error:
        score_files(scorer, [unseen, path])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
