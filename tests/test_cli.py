"""What a user can get wrong ends in one clear line and exit code 2."""

import os
import subprocess
import sys

import pytest
import yaml

from apmae.stages import STAGE_NAMES


def study_file(tmp_path, **sections):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"name": "wrong", "directory": str(tmp_path / "run"), **sections}))
    return path


def java(tmp_path, text="class A { int a = 1; }\n"):
    corpus = tmp_path / "corpus"
    corpus.mkdir(exist_ok=True)
    (corpus / "A.java").write_text(text, encoding="utf-8")
    return {"source": "directory", "path": str(corpus)}


WRONG = {
    "unknown task": (
        {"prompts": {"tasks": ["poetry"]}},
        "prompts.tasks: java has no task poetry; there are: assignment_operators, ",
    ),
    "unknown language": (
        {"corpus": {"language": "cobol"}},
        "unknown language 'cobol'; there are: cpp, java, javascript, python, tsx, typescript",
    ),
    "language that the source has not": (
        {"corpus": {"source": "python-stdlib"}},
        "corpus.source: python-stdlib has no java; set corpus.language: python",
    ),
    "path that means nothing": (
        {"corpus": {"source": "python-stdlib", "language": "python", "path": "/usr/lib"}},
        "corpus.path has no meaning with corpus.source: python-stdlib",
    ),
    "unknown key": ({"prompts": {"lenght": 3}}, "unknown key prompts.lenght"),
    "unknown section": ({"promts": {}}, "unknown key promts"),
    "unknown source": ({"corpus": {"source": "floppy"}}, "corpus.source: Input should be"),
    "source without a path": ({"corpus": {"source": "archive"}}, "corpus.path is needed"),
    "path that is not there": (
        {"corpus": {"source": "directory", "path": "/no/place"}},
        "/no/place",
    ),
    "wrong type": ({"training": {"steps": "many"}}, "training.steps: Input should be a valid integer"),
    "patches that do not fit": ({"encoder": {"patch_size": 30}}, "does not divide prompts.length_tokens"),
    "odd batch": (
        {"training": {"batch_size": 100}},
        "training.batch_size: Input should be a multiple of 8",
    ),
}


@pytest.mark.parametrize(("sections", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_study_is_one_clear_line(apmae, tmp_path, sections, message):
    code, _, errors = apmae("run", study_file(tmp_path, **sections))
    assert code == 2
    assert errors.count("\n") == 1
    assert errors.startswith("error: ")
    assert message in errors


def test_no_study_file(apmae, tmp_path):
    assert apmae("run", tmp_path / "none.yaml") == (
        2,
        "",
        f"error: {tmp_path / 'none.yaml'}: no such study file\n",
    )


@pytest.mark.parametrize("override", ["steps", "=3", "name.a=3", "training.steps=[1"])
def test_overrides_that_cannot_be_read(apmae, tmp_path, override):
    code, _, errors = apmae("run", study_file(tmp_path), "--set", override)
    assert code == 2
    assert errors.startswith(f"error: --set {override}: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "gpt5",
            "is no directory, .gguf file, hub id (owner/name) or alias (smollm2-135m, java-fim-4m, ",
        ),
        ("/no/such/model.gguf", "no such file"),
        ("{tmp}/corpus", "cannot be loaded"),
    ],
)
def test_a_target_that_is_not_there(apmae, tmp_path, model, message):
    corpus = java(tmp_path)
    path = study_file(tmp_path, corpus=corpus, target={"model": model.format(tmp=tmp_path)})
    code, _, errors = apmae("run", path)
    assert code == 2
    assert errors.count("\n") == 1
    assert message in errors


def test_a_corpus_without_files_of_the_language(apmae, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.py").write_text("a = 1\n")
    path = study_file(tmp_path, corpus={"source": "directory", "path": str(tmp_path / "corpus")})
    code, _, errors = apmae("run", path)
    assert code == 2
    assert "java" in errors


def test_a_directory_that_cannot_be_written(apmae, tmp_path):
    (tmp_path / "blocked").write_text("a file where a directory should be")
    path = study_file(tmp_path, corpus=java(tmp_path), directory=str(tmp_path / "blocked" / "run"))
    code, _, errors = apmae("run", path)
    assert code == 2
    assert "run the same command to go on" in errors


def test_status_of_a_study_that_was_not_begun(apmae, tmp_path):
    code, output, _ = apmae("status", study_file(tmp_path, corpus=java(tmp_path)))
    assert code == 0
    assert output.count("missing") == len(STAGE_NAMES)


def test_a_path_is_no_markup(apmae, tmp_path):
    directory = str(tmp_path / "[red]run[/red]")
    code, output, _ = apmae("status", study_file(tmp_path, corpus=java(tmp_path), directory=directory))
    assert code == 0
    assert "[red]run[/red]" in "".join(output.split())


def test_what_cannot_be_exported_ends_in_one_line(apmae, tmp_path):
    code, _, said = apmae("export-model", tmp_path, "--output", tmp_path / "out")
    assert code == 2
    assert said == f"error: {tmp_path} holds no intervention (no intervention.json)\n"
    code, _, said = apmae("export-model", tmp_path, "--output", tmp_path)
    assert code == 2
    assert said == f"error: {tmp_path} is there already: name a new directory\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_with_few_characters_shows_codes_for_the_others(tmp_path, encoding):
    file = tmp_path / "A.java"
    file.write_text('class A { String s = "日本"; }\n' * 40, encoding="utf-8")
    page = tmp_path / "page"
    shown = subprocess.run(
        [sys.executable, "-m", "apmae", "show", "java-fim-4m", f"{file}:20", "--output", str(page)],
        env={**os.environ, "PYTHONIOENCODING": encoding, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert b"\\u65e5" in shown.stdout
