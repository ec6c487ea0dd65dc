"""The wheel works outside a checkout, and the pinned versions come from the public index."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parent.parent
JAVA = "class A {\n    int a = 1;\n    int b() { return a; }\n}\n"

SUFFIXES = {".py", ".scm", ".html", ".css", ".js"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The wheel's files in a directory outside the checkout."""
    root = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(root)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = root.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(root / "site-packages")
    return root / "site-packages"


def run_outside(unpacked, directory, *arguments):
    """Run Python with the wheel's files first on its path, in a directory without a checkout."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(unpacked), "HF_HUB_OFFLINE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )


def test_every_locked_package_comes_from_the_public_index():
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = {urlsplit(url).netloc for url in re.findall(r'(?:registry|url) = "([^"]+)"', lock)}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


@pytest.mark.slow
def test_the_wheel_shows_a_prompt_with_the_model_that_it_contains(unpacked, tmp_path):
    (tmp_path / "A.java").write_text(JAVA)
    shown = run_outside(
        unpacked, tmp_path, "-m", "apmae", "show", "java-fim-4m", "A.java:3", "--output", "page"
    )
    assert (shown.returncode, shown.stderr.count("Traceback")) == (0, 0)
    assert "<html" in next((tmp_path / "page").glob("*.html")).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_contains_every_file_of_the_package(unpacked):
    files = [path for path in (ROOT / "src" / "apmae").rglob("*") if path.suffix in SUFFIXES]
    assert {path.suffix for path in files} == SUFFIXES
    for path in files:
        assert (unpacked / path.relative_to(ROOT / "src")).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "said"),
    [
        ("target: {model: java-fim-12m}", "target.model 'java-fim-12m' is in the repository of apmae"),
        (
            "target: {model: java-fim-4m}\n"
            "corpus: {source: directory, path: ., "
            "groups_file: experiments/toy_models/java-fim-4m/held_out_packages.txt}",
            "corpus.groups_file: experiments/toy_models/java-fim-4m/held_out_packages.txt cannot be read",
        ),
    ],
)
def test_what_the_wheel_does_not_contain_is_refused_in_one_line(unpacked, tmp_path, study, said):
    (tmp_path / "A.java").write_text(JAVA)
    (tmp_path / "study.yaml").write_text(f"name: outside\n{study}\n")
    refused = run_outside(unpacked, tmp_path, "-m", "apmae", "run", "study.yaml")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert said in refused.stderr
