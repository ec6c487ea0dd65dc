"""Files of a finished study that are not as they were written: seen, said, and made anew."""

import json
import shutil
import subprocess

import pytest
from helpers.studies import ENVIRONMENT, command

from apmae import pipeline
from apmae.common.errors import ApmaeError
from apmae.intervention import Intervention
from apmae.scoring import Scorer
from apmae.stages import STAGE_NAMES
from apmae.study import Study
from apmae.study.artifacts import ARTIFACTS
from apmae.study.directory import MADE_ANEW
from apmae.study.study_file import load_config

DONE = [name for name in STAGE_NAMES if not name.startswith("token")]  # the study has no windows


@pytest.fixture
def copied(finished, tmp_path):
    """The finished study's file, and a copy of its directory that may be damaged."""
    path, study = finished
    directory = shutil.copytree(study.directory, tmp_path / "run", copy_function=shutil.copy2)
    return path, Study.open(directory)


def files_of(study, stage):
    """The stage's files with content, in order."""
    return [study.directory / name for name, (size, _) in study.marker(stage)["files"].items() if size]


def halve(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def states(study):
    keys = pipeline.stage_keys(study, pipeline.Inputs(study.config))
    return {name: pipeline.state(study, name, keys) for name in STAGE_NAMES}


def run(study, path, **options):
    """Run the copied study; returns what was announced."""
    lines = []
    config = load_config(path, [f"directory={study.directory}"])
    pipeline.run(config, announce=lines.append, **options)
    return lines


@pytest.mark.parametrize("stage", DONE)
@pytest.mark.parametrize("damage", [halve, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_file_that_is_shorter_or_gone_is_seen_by_its_size(copied, stage, damage):
    _, study = copied
    assert set(states(study).values()) == {"done"}
    file = files_of(study, stage)[-1]
    damage(file)
    assert states(study) == {name: "damaged" if name == stage else "done" for name in STAGE_NAMES}
    (line,) = study.damaged(stage)
    assert line.startswith(f"{file} ")


@pytest.mark.parametrize("stage", DONE)
def test_a_single_bit_is_seen_where_contents_are_read(copied, stage):
    _, study = copied
    for file in files_of(study, stage):
        flip(file)
        assert study.damaged(stage) == []
        assert study.damaged(stage, contents=True) == [f"{file} has another content than was written"]
        flip(file)
    assert study.damaged(stage, contents=True) == []


def test_a_file_too_many_is_seen(copied):
    _, study = copied
    file = study.path("encodings.zarr") / "cls" / "c" / "99" / "0"
    file.parent.mkdir(parents=True)
    file.touch()
    assert study.damaged("encode") == [f"{file} was not there"]


def test_a_damaged_stage_alone_is_done_again_and_gives_the_same(copied):
    path, study = copied
    before = study.clusters
    halve(study.path("clusters.parquet"))
    lines = run(study, path)
    assert any("clusters.parquet has" in line for line in lines)
    assert [line for line in lines if line.endswith("started")] == ["cluster: started"]
    assert study.clusters.equals(before)
    assert set(states(study).values()) == {"done"}


def test_flipped_weights_are_found_by_verify_and_made_anew(copied, finished):
    path, study = copied
    weights = study.path("encoder") / "model.safetensors"
    intact = weights.read_bytes()
    flip(weights)
    assert run(study, path) == [f"{name}: already done" for name in STAGE_NAMES]
    done = subprocess.run(
        command(path, "--verify", "--set", f"directory={study.directory}"),
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"train: {weights} has another content than was written" in done.stdout
    assert weights.read_bytes() == intact


def test_a_stage_does_not_build_on_a_flipped_bit(copied):
    path, study = copied
    (first, *_) = [file for file in files_of(study, "encode") if "row_statistics/c" in str(file)]
    flip(first)
    study.unmark("predict")
    with pytest.raises(ApmaeError, match="has another content than was written") as raised:
        run(study, path, only="predict")
    assert MADE_ANEW in str(raised.value)
    lines = run(study, path)
    assert [line for line in lines if line.endswith("started")] == ["encode: started", "predict: started"]


def test_reading_a_damaged_artifact_ends_in_one_line(copied):
    _, study = copied
    halve(study.path("metrics.parquet"))
    with pytest.raises(
        ApmaeError, match=r"metrics\.parquet has .* bytes and had .*: `apmae run .* --verify`"
    ):
        _ = study.metrics
    with pytest.raises(ApmaeError, match=r"metrics\.parquet has"):
        _ = study.predictions  # of the same stage
    metadata = study.path("encodings.zarr") / "zarr.json"
    metadata.write_text("{" + " " * (metadata.stat().st_size - 1))
    with pytest.raises(ApmaeError, match=r"encodings\.zarr cannot be read"):
        _ = study.encodings
    prompts = study.path("prompts.parquet")
    prompts.write_bytes(b"x" * prompts.stat().st_size)
    with pytest.raises(ApmaeError, match=r"prompts\.parquet cannot be read"):
        _ = study.prompts


def test_an_artifact_that_is_written_anew_is_no_longer_done(copied):
    _, study = copied
    with study.writing("encoder") as directory:
        directory.mkdir()
        assert study.marker("train") is not None
    assert study.marker("train") is None


def test_verify_names_what_is_damaged(copied, apmae):
    _, study = copied
    code, printed, _ = apmae("verify", study.directory)
    assert code == 0
    assert printed.count("intact") == len(STAGE_NAMES)
    flip(study.path("clusters.parquet"))
    (study.path("encoder") / "config.json").unlink()
    code, printed, said = apmae("verify", study.directory)
    assert code == 2
    assert printed.count("intact") == len(STAGE_NAMES) - 2
    assert "clusters.parquet has another content than was written" in " ".join(printed.split())
    assert "config.json is gone" in " ".join(printed.split())
    assert said == f"error: 2 files are not as they were written: {MADE_ANEW}\n"


def test_a_study_of_a_version_without_checksums_is_taken_as_it_is(copied, apmae):
    path, study = copied
    for name in STAGE_NAMES:
        record = study.marker(name)
        record.pop("files")
        (study.path("markers") / f"{name}.json").write_text(json.dumps(record))
    assert run(study, path) == [f"{name}: already done" for name in STAGE_NAMES]
    assert study.metrics.height
    code, printed, _ = apmae("verify", study.directory)
    assert code == 0
    assert printed.count("without checksums") == len(STAGE_NAMES)


def test_every_stage_says_what_it_writes(finished):
    _, study = finished
    assert list(ARTIFACTS) == list(STAGE_NAMES)
    written = {path.relative_to(study.directory).parts[0] for path in study.directory.iterdir()}
    named = {name for names in ARTIFACTS.values() for name in names}
    assert written - named == {"study.yaml", "provenance.json", "markers", ".lock", "work"}


def test_what_was_made_of_another_run_is_refused(copied):
    """A run under another config that was stopped leaves the later stages of the earlier one."""
    _, study = copied
    study.require_finished("intervene")
    record = study.marker("encode")
    study.mark_done("encode", {**record, "key": "another"})
    study.require_finished("encode")
    for use in (lambda: study.require_finished("predict"), lambda: Intervention.best_of(study, "eol")):
        with pytest.raises(ApmaeError, match=r"the stage \w+ was made of another encode than is"):
            use()
    with pytest.raises(ApmaeError, match="was made of another encode than is there now"):
        Scorer.load(study.directory)
    study.unmark("prompts")
    with pytest.raises(ApmaeError, match="the stage prompts is not done: run `apmae run`"):
        study.require_finished("predict")
