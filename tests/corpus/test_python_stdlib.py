import argparse
import platform
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import SkippedFile, SourceFile, open_corpus, python_stdlib
from apmae.study.config import CorpusConfig

CONFIG = CorpusConfig(source="python-stdlib", language="python")
FILES = {
    "abc.py": "class ABC: pass\n",
    "json/decoder.py": "import re\n",
    "json/tool/main.py": "import sys\n",
    "json/readme.txt": "no Python",
    "json/tests/test_decoder.py": "1/0",
    "test/badsyntax.py": "def f(:",
    "site-packages/torch/nn.py": "installed",
}


@pytest.fixture
def stdlib(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(python_stdlib.sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


def test_files_are_grouped_by_top_level_package_or_module(stdlib):
    (stdlib / "latin.py").write_bytes("é = 1".encode("latin-1"))
    corpus = open_corpus(CONFIG, 0)
    assert {file for _, file in corpus.files()} == {
        SourceFile("abc.py", "abc", "class ABC: pass\n"),
        SourceFile("json/decoder.py", "json", "import re\n"),
        SourceFile("json/tool/main.py", "json", "import sys\n"),
        SkippedFile("latin.py", "not UTF-8"),
    }
    assert corpus.description == f"standard library of Python {platform.python_version()}: 4 .py files"


def test_the_fingerprint_changes_with_pythons_version(stdlib, monkeypatch):
    before = open_corpus(CONFIG, 0).fingerprint
    assert open_corpus(CONFIG, 1).fingerprint == before
    monkeypatch.setattr(platform, "python_version", lambda: "2.7.18")
    assert open_corpus(CONFIG, 0).fingerprint != before


def test_the_fingerprint_changes_with_the_files(stdlib):
    before = open_corpus(CONFIG, 0).fingerprint
    (stdlib / "abc.py").write_text("class ABCMeta: pass\n")
    assert open_corpus(CONFIG, 0).fingerprint != before


def test_the_order_is_the_seeds():
    orders = [[file.path for _, file in open_corpus(CONFIG, seed).files()] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_this_pythons_library():
    files = [file for _, file in open_corpus(CONFIG, 0).files()]
    texts = {file.path: file for file in files if isinstance(file, SourceFile)}
    assert texts["argparse.py"].group == "argparse"
    assert texts["json/decoder.py"].group == "json"
    assert {"site-packages", "test"}.isdisjoint(file.group for file in texts.values())
    assert Path(argparse.__file__).read_text(encoding="utf-8") == texts["argparse.py"].text


def test_a_python_without_sources_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(python_stdlib.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ApmaeError, match=r"holds no \.py file"):
        open_corpus(CONFIG, 0)
