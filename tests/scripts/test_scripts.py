"""The scripts that make the documents' numbers run, on small studies."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.finished_study import SMALL, build_study

SCRIPTS = Path(__file__).parents[2] / "scripts"


def output_of(script, *arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_print_results_prints_every_table_of_a_study(tmp_path):
    study = build_study(tmp_path / "study", **SMALL)
    printed = output_of("print_results.py", study.directory)
    assert printed.count("|---") >= 8
    for heading in ("Accuracy (95% interval)", "Net change in points", "What each task's best intervention"):
        assert heading in printed


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("nothing", "no task has an intervention of 'nothing'"),
        ("gated", "measures neither gated methods nor mean ablation, as 'gated' is"),
        ("mean", "measures neither gated methods nor mean ablation, as 'mean' is"),
    ],
)
def test_methods_whose_side_effects_are_not_measured_are_one_clear_line(tmp_path, method, said):
    study = build_study(tmp_path / "study", **SMALL)
    command = [sys.executable, str(SCRIPTS / "print_results.py"), str(study.directory)]
    done = subprocess.run(
        [*command, "--side-effects-of", method], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith(said)


def test_print_heads_prints_effects_and_roles(tmp_path):
    study = build_study(tmp_path / "study", **SMALL)
    printed = output_of("print_heads.py", study.directory)
    leader = study.importance.sort("max_difference", descending=True).select("layer", "head").row(0)
    assert f"| eol | L{leader[0]}H{leader[1]} | -0.600 [-0.650, -0.550] | " in printed
    assert "| previous token 0.90, opening bracket 0.20 |" in printed
    assert re.search(r"\n\| eol \| \d+ \| \d+ \| \d+ \| 0\.90 \| 0\.80 \|", printed)
    assert f"| opening bracket | 480 | 1 | L{leader[0]}H{leader[1]} 0.20 (0.06) |" in printed


def test_compare_seeds_prints_every_task_and_refuses_equal_seeds(tmp_path):
    studies = [build_study(tmp_path / str(seed), **SMALL, seed=seed).directory for seed in (0, 1)]
    printed = output_of("compare_seeds.py", *studies)
    assert printed.startswith("AUROC by seed (7, 8):")
    assert "Added by row statistics" in printed
    assert "Added by copy attention" in printed
    assert printed.count("\n| eol | ") == 3
    assert re.search(
        r"\n\| row_statistics \| [01]\.\d{3} [01]\.\d{3} \| [+-]\S+ [+-]\S+ \| \d \d \| \d \d \|", printed
    )
    with pytest.raises(AssertionError, match="the studies have the same seed"):
        output_of("compare_seeds.py", studies[0], studies[0])


def test_generate_targets_docs_finds_the_families():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import generate_targets_docs as g; assert g.page"
    subprocess.run([sys.executable, "-c", code, str(SCRIPTS)], check=True)
