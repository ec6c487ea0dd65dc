"""A study on a disk that breaks: nothing is lost, nothing wrong is used, and what is said is one line.

`make chaos` sets APMAE_CHAOS=1000: a thousand kills, half as many faults, a fifth as many corruptions. The
places are the same in every run. Every study is broken again and again until it ends, and then is compared
file by file with one that was left alone.
"""

import itertools
import os
import random
import shutil
import subprocess
import sys

import pytest
from chaos.harness import (
    FAULTS,
    HERE,
    KILLS,
    SMALL,
    Server,
    contents,
    leftovers,
)
from helpers.models import write_parts
from helpers.studies import write_study

KILL_COUNT = int(os.environ.get("APMAE_CHAOS", "4"))
BREAKS_PER_STUDY = min(KILL_COUNT, 80)
PARTS = 1 if KILL_COUNT < 100 else 2
"""Processes that can share the long form."""
TRIES_OF_A_STAGE = 8
"""Breaks of a stage after which further ones come later and later."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or shutil.which("cc") is None,
        reason="the broken disk is a library for Linux that a C compiler makes",
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("shim")
    shim = directory / "disk.so"
    flags = ["-O1", "-shared", "-fPIC", "-o", str(shim), str(HERE / "disk.c"), "-ldl"]
    subprocess.run(["cc", *flags], check=True)
    server = Server(shim, directory / "log")
    yield server
    server.close()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def untouched(server, parts, tmp_path_factory):
    """(what an untouched run wrote, how many changes it made, its directory)."""
    root = tmp_path_factory.mktemp("untouched")
    study = write_study(root / "study.yaml", *parts, root / "run", **SMALL)
    ended = server.run("run", str(study), root=root / "run")
    assert ended.code == 0, ended.said
    assert ended.changes > 500
    return contents(root / "run"), ended.changes, root / "run"


def broken_again_and_again(server, study, root, changes, generator, breaks):
    """Run a study until it ends, on a disk that breaks each time; yields (what broke, how it ended)."""
    near = reach = 2 * changes // BREAKS_PER_STUDY
    stage, tried = 0, 0
    for _ in range(20 * BREAKS_PER_STUDY):
        name = generator.choice(list(breaks))
        place = generator.randrange(1, int(reach))
        ended = server.run("run", str(study), root=root, place=place, how=breaks[name])
        yield name, ended
        if ended.code == 0 and ended.changes < place:
            return
        before, stage = stage, len(list(root.glob("markers/*")))
        tried = tried + 1 if stage == before else 0
        # Some stages begin anew, and never end on a disk that breaks soon.
        reach = near * 1.5 ** max(0, tried - TRIES_OF_A_STAGE)
    raise AssertionError("the study does not get ahead")


def studies(parts, tmp_path, first):
    """One study after another: (generator, study file, directory)."""
    for number in itertools.count(first):
        study = write_study(tmp_path / f"{number}.yaml", *parts, tmp_path / f"run{number}", **SMALL)
        yield random.Random(number), study, tmp_path / f"run{number}"
        shutil.rmtree(tmp_path / f"run{number}")


@pytest.fixture
def report(capfd):
    """Tell how far the long form is, from another process too."""

    def tell(line):
        if PARTS > 1:
            with capfd.disabled():
                sys.stderr.write(f"{line}\n")

    return tell


@pytest.mark.parametrize("part", range(PARTS))
def test_kills_lose_nothing(server, parts, untouched, tmp_path, report, part):
    expected, changes, _ = untouched
    kills = 0
    for generator, study, directory in studies(parts, tmp_path, 1_000 * part):
        for _, ended in broken_again_and_again(server, study, directory, changes, generator, KILLS):
            assert ended.code in (0, -9), ended.said
            kills += ended.code == -9
        assert contents(directory) == expected
        assert leftovers(directory) == []
        report(f"part {part}: {kills} kills")
        if kills >= KILL_COUNT // PARTS:
            break


@pytest.mark.parametrize("part", range(PARTS))
def test_faults_end_in_a_line_and_lose_nothing(server, parts, untouched, tmp_path, report, part):
    expected, changes, _ = untouched
    faults = 0
    for generator, study, directory in studies(parts, tmp_path, 1_000 * part):
        for name, ended in broken_again_and_again(server, study, directory, changes, generator, FAULTS):
            assert "Traceback" not in ended.said, (name, ended.said)
            allowed = {"told to end": (0, 143), "interrupted": (0, 130), "half written": (0,)}.get(
                name, (0, 2)
            )
            assert ended.code in allowed, (name, ended)
            if ended.code == 2:
                assert ended.said.strip().splitlines()[-1].startswith("error: "), ended.said
            faults += ended.code != 0
        assert contents(directory) == expected
        assert leftovers(directory) == []
        report(f"part {part}: {faults} faults")
        if faults >= KILL_COUNT // 2 // PARTS:
            break


def flipped(content, generator):
    content = bytearray(content)
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


CORRUPTIONS = {
    "a bit": flipped,
    "cut": lambda content, generator: content[: generator.randrange(len(content))],
    "empty": lambda content, generator: b"",
    "longer": lambda content, generator: content + b"\0",
    "gone": lambda content, generator: None,
}


def test_every_corruption_is_found_and_mended(server, parts, untouched, tmp_path, report):
    expected, _, finished = untouched
    generator = random.Random(0)
    study = write_study(tmp_path / "study.yaml", *parts, tmp_path / "run", **SMALL)
    directory = shutil.copytree(finished, tmp_path / "run", copy_function=shutil.copy2)
    ended = server.run("run", str(study), root=directory)
    assert ended.code == 0, ended.said
    files = [name for name in expected if (directory / name).stat().st_size]
    for number in range(max(2, KILL_COUNT // 5)):
        name = generator.choice(files)
        way = list(CORRUPTIONS)[number % len(CORRUPTIONS)]
        content = CORRUPTIONS[way]((directory / name).read_bytes(), generator)
        (directory / name).unlink()
        if content is not None:
            (directory / name).write_bytes(content)
        found = server.run("verify", str(directory), root=directory)
        assert found.code == 2, (name, way, found.said)
        assert name in found.said.replace("\n", ""), (name, way, found.said)
        mended = server.run("run", str(study), "--verify", root=directory)
        assert mended.code == 0, (name, way, mended.said)
        assert contents(directory) == expected, (name, way)
        report(f"{number + 1} corruptions")
