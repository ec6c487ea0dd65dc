import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
FIGURES = {
    "difference: plain pass",
    "difference: scaled and replaced heads",
    "difference: patterns of all heads",
    "difference: patches of all heads",
    "difference: patches of a quarter of the heads",
    "the model's own SDPA pass",
    "our plain pass",
    "capture: a quarter of each layer's heads",
    "capture: all heads",
    "capture and scale: a quarter of each layer's heads",
    "capture and scale: all heads",
    "matrix products",
    "training",
    "encoding",
    "interventions: the paper's numbers of heads",
    "interventions: single heads",
}
GOALS = {
    "capture: a quarter of each layer's heads": "at most 1.15",
    "capture: all heads": "at most 1.3",
    "training": "at least 0.45",
    "encoding": "at least 0.5",
}
COMPARE_DIFFERENT_NETWORKS = """
import torch, gpu
device = torch.device("cpu")
one, other = (gpu.random_starcoder2(device, torch.float32, **gpu.SMALL_TARGET) for _ in range(2))
figures = gpu.compare(one, other, torch.randint(128, (2, 64)))
print(*(figure.met for figure in figures))
gpu.require_met(figures)
"""


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=SCRIPT.parent,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small run's JSON, its Markdown and its standard output."""
    output = tmp_path_factory.mktemp("results")
    done = run(SCRIPT, "--tiny", "--output", output)
    assert done.returncode == 0, done.stderr
    (table,), (values,) = output.glob("*.md"), output.glob("*.json")
    return json.loads(values.read_text()), table.read_text(), done.stdout


@pytest.mark.slow
def test_a_small_run_has_every_figure(tiny):
    values, _, _ = tiny
    figures = {figure["what"]: figure for figure in values["figures"]}
    assert figures.keys() == FIGURES
    assert len(values["figures"]) == len(FIGURES)
    assert values["device"] and values["torch"] and values["dtype"] == "float32"
    for what, figure in figures.items():
        if what.startswith("difference"):
            assert figure["figure"] <= 1e-5 and figure["met"], "one processor agrees with itself"
            continue
        assert figure["figure"] > 0 and (figure["ratio"] is None) == (what == "matrix products")
        assert figure["ratio"] is None or figure["ratio"] > 0
        assert figure["goal"] == GOALS.get(what)
        assert (figure["met"] is None) == (what not in GOALS)
    assert figures["our plain pass"]["ratio"] == 1


@pytest.mark.slow
def test_the_table_has_a_row_for_every_figure(tiny):
    values, table, printed = tiny
    assert table == printed
    head, _, titles, rule, *rows = table.splitlines()
    assert head.startswith(f"{values['device']}, torch {values['torch']}")
    assert titles == "| what | figure | unit | ratio | goal | met |"
    assert {line.count("|") for line in (titles, rule, *rows)} == {7}
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [made["what"] for made in values["figures"]]


@pytest.mark.slow
def test_without_a_gpu_it_ends_with_one_line(tmp_path):
    done = run(SCRIPT, "--output", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "needs a GPU; --tiny tries the script at small sizes on this processor\n"
    assert done.stdout == "" and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_device_that_computes_something_else_ends_the_run():
    done = run("-c", COMPARE_DIFFERENT_NETWORKS)
    assert done.returncode == 1
    assert done.stdout.split() == ["False"] * 5
    line = done.stderr.splitlines()[-1]
    assert "is not exact: difference: plain pass" in line and "at most 0.0001 allowed" in line
