import sys

import polars as pl
import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import SkippedFile, SourceFile, open_corpus
from apmae.corpus.hub import _file
from apmae.study.config import CorpusConfig

ROWS = {
    "content": ["class A { }", "class B { }", "x" * 101, " ", None, "class C { }", "class D { }"],
    "repo": ["a/a", "b/b", "a/a", "a/a", "a/a", "c/c", "c/c"],
    "exact_duplicate": [False, False, False, False, False, True, None],
    "near_duplicate": [False, True, False, False, False, False, False],
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "set").mkdir()
    pl.DataFrame(ROWS).write_ndjson(tmp_path / "set" / "train.jsonl")
    return CorpusConfig(
        source="hub",
        path=str(tmp_path / "set"),
        max_file_bytes=100,
        group_column="repo",
        exclude_flags=("exact_duplicate", "near_duplicate"),
    )


def test_every_row_is_read_or_skipped_for_its_reason(config):
    files = [file for _, file in open_corpus(config, 0).files()]
    assert {(file.group, file.text) for file in files if isinstance(file, SourceFile)} == {
        ("a/a", "class A { }"),
        ("c/c", "class D { }"),
    }
    reasons = sorted(file.reason for file in files if isinstance(file, SkippedFile))
    assert reasons == ["empty", "empty", "flagged", "flagged", "too large"]
    assert [file.path for file in files] == [f"{config.path}#{position}" for position in range(7)]


def test_the_order_is_the_seeds_and_can_be_gone_on_with(config):
    orders = [list(open_corpus(config, seed).files()) for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    for start in range(9):
        assert list(open_corpus(config, 0).files(start)) == orders[0][start:]


def test_without_a_group_column_each_file_is_its_own_group(config):
    corpus = open_corpus(config.model_copy(update={"group_column": None, "exclude_flags": ()}), 0)
    files = [file for _, file in corpus.files() if isinstance(file, SourceFile)]
    assert len(files) == 4
    assert all(file.group == file.path for file in files)


def test_fingerprint_and_description_name_the_data_set(config):
    corpus = open_corpus(config, 0)
    other = open_corpus(config.model_copy(update={"hub_revision": "abc"}), 0)
    assert corpus.fingerprint != other.fingerprint
    assert corpus.description == f"data set {config.path}, split train"
    assert other.description == f"data set {config.path}, split train, revision abc"


def test_a_lone_surrogate_is_not_utf8(config):
    row = {"content": "\ud800", "repo": "a", "exact_duplicate": False, "near_duplicate": False}
    assert _file("p", row, config) == SkippedFile("p", "not UTF-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"text_column": "code"},
            "no column code; there are: content, repo, exact_duplicate, near_duplicate",
        ),
        ({"group_column": "owner"}, "no column owner; there are"),
        ({"exclude_flags": ("spam",)}, "no column spam; there are"),
        ({"path": "/nowhere/at/all"}, "data set /nowhere/at/all: "),
        ({"hub_split": "test"}, "Bad split: test"),
        ({"hub_config": "kotlin"}, "'kotlin' not found"),
    ],
)
def test_what_is_not_there_is_one_clear_error(changes, message, config):
    with pytest.raises(ApmaeError, match=message) as caught:
        open_corpus(config.model_copy(update=changes), 0)
    assert "\n" not in str(caught.value)


def test_without_the_package_datasets_the_extra_is_named(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ApmaeError, match=r"pip install 'apmae\[hub\]'"):
        open_corpus(config, 0)
