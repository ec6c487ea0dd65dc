"""What `apmae show` prints, and what a user can get wrong with it."""

import io

import pytest
from helpers.corpora import write_corpus
from helpers.models import write_target
from rich.console import Console

from apmae.viewer import summary


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """(directory of a tiny target, a file of its corpus)"""
    directory = tmp_path_factory.mktemp("show")
    write_corpus(directory / "corpus", packages=1, files=2)
    write_target(directory / "target", directory / "corpus")
    return directory / "target", directory / "corpus" / "p0" / "C0.java"


def test_summary_says_what_came_and_what_should_have(made_up_view):
    stream = io.StringIO()
    Console(file=stream, width=200).print(summary(made_up_view))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines[1] == "    if ($a$_{中\\x1b[0m⇥ foo&amp; </script><img src=x onerror=alert(1)>"
    assert "true       ·</script><im…  1.0%" in lines
    assert "predicted  </script><img…  50.0%  incorrect" in lines
    assert "writes     </script><img src=x onerror=alert(1)>↵  incorrect" in lines
    assert "entropy    1.50 nats" in lines
    assert sum(line.endswith("%") for line in lines) == 6


def test_show_writes_a_page_where_it_is_told_to(apmae, learned, tmp_path):
    target, file = learned
    code, output, errors = apmae(
        "show", target, f"{file}:6", "--heads", "L2H1", "--output", tmp_path / "out", "--dtype", "float32"
    )
    assert (code, errors) == (0, "")
    assert f"page: {tmp_path / 'out' / 'index.html'}" in output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "heads.png", "L2H1.png"}


def test_by_default_the_page_is_named_after_the_place(apmae, learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target, file = learned
    code, _, _ = apmae("show", target, f"{file}:6", "--dtype", "float32", "--length-tokens", "16")
    assert code == 0
    assert len(list((tmp_path / "show" / "C0-6").glob("L*H*.png"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{file}:999",), "has no line 999"),
        (("{file}:6", "--heads", "1.2"), "write them as L5H6,L7H0"),
        (("{file}:6", "--heads", "L9H9"), "has no head L9H9: 3 layers of 4 heads"),
        (("{file}:6", "--format", "fim"), "no sentinels"),
        (("{file}:6:10",), "is within a token"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(apmae, learned, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    target, file = learned
    place, *options = (argument.format(file=file) for argument in arguments)
    code, _, errors = apmae("show", target, place, *options)
    assert code == 2
    assert errors.count("\n") == 1
    assert message in errors
    assert not (tmp_path / "show").exists()
