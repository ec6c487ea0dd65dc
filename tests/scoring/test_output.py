"""The command `apmae score` on a file that its study never saw."""

import json

import pytest
from rich.console import Console

from apmae.scoring import HeadContribution, score_files, table
from apmae.scoring.output import heads_text


@pytest.fixture(scope="module")
def scored(scorer, unseen):
    ((_, holes),) = score_files(scorer, [unseen], limit=3)
    return holes


def test_the_command_prints_a_line_for_every_hole(apmae, study, scored, unseen):
    code, printed, _ = apmae("score", "--study", study.directory, "--limit", 3, unseen)
    assert code == 0
    lines = [line.split() for line in printed.splitlines()]
    places = [(words[0], words[1]) for words in lines if words and words[0][0].isdigit() and ":" in words[0]]
    assert places == [(f"{one.hole.line}:{one.hole.column}", one.hole.task) for one in scored]
    right = sum(one.correct for one in scored)
    expected = sum(one.score.probability for one in scored)
    assert f"{right} of {len(scored)} correct, {expected:.1f} expected" in printed


def test_a_row_has_what_was_predicted_and_by_which_heads(scored, unseen):
    console = Console(width=120, file=open("/dev/null", "w"), record=True)  # noqa: SIM115, PTH123
    console.print(table(unseen, scored[:1]))
    (row,) = [line for line in console.export_text().splitlines() if f"{scored[0].hole.line}:" in line]
    (one,) = scored[:1]
    assert f"{one.score.probability:.0%}" in row
    assert ("correct" if one.correct else "incorrect") in row
    assert heads_text(one.score.heads) in row


def test_heads_are_written_with_their_signs_where_they_add_something():
    heads = [HeadContribution(5, 3, 0.4), HeadContribution(0, 11, -1.234), HeadContribution(0, 0, -0.004)]
    assert heads_text(heads) == "L5H3 +0.40, L0H11 -1.23"
    assert heads_text(heads[2:]) == "none"


def test_json_is_one_document_with_every_number(apmae, study, scored, unseen):
    arguments = ("score", "--study", study.directory, "--json", "--limit", 3)
    code, printed, _ = apmae(*arguments, unseen, unseen)
    assert code == 0
    document = json.loads(printed)
    assert document["study"] == "miniature"
    first, second = document["files"]
    assert first == second
    assert first["file"] == str(unseen)
    assert len(first["holes"]) == len(scored)
    for record, one in zip(first["holes"], scored, strict=True):
        assert (record["line"], record["column"], record["task"]) == (
            one.hole.line,
            one.hole.column,
            one.hole.task,
        )
        assert record["probability"] == pytest.approx(one.score.probability, abs=1e-6)
        assert record["correct"] == one.correct
        assert [(head["layer"], head["head"]) for head in record["heads"]] == [
            head[:2] for head in one.score.heads
        ]


def test_one_task_alone(apmae, study, unseen):
    _, printed, _ = apmae("score", "--study", study.directory, "--json", "--task", "eol", unseen)
    (file,) = json.loads(printed)["files"]
    assert {hole["task"] for hole in file["holes"]} == {"eol"}
    assert len(file["holes"]) == 20


WRONG = {
    "no study": ("nowhere", ["FILE"], "holds no study"),
    "a task that is not the study's": (
        "STUDY",
        ["--task", "closing_bracket", "FILE"],
        "has no scorer of clos",
    ),
    "another language": ("STUDY", ["FILE", "a.py"], "a.py is no .java file"),
    "too short a file": ("STUDY", ["A.java"], "A.java has no hole of eol"),
}


@pytest.mark.parametrize(("directory", "arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_one_line(
    apmae, study, unseen, tmp_path, monkeypatch, directory, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "A.java").write_text("class A {\n}\n")
    named = {"STUDY": study.directory, "FILE": unseen}
    arguments = [named.get(word, word) for word in arguments]
    code, printed, errors = apmae("score", "--study", named.get(directory, directory), *arguments)
    assert (code, printed) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
