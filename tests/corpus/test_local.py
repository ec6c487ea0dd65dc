import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import SkippedFile, SourceFile, open_corpus
from apmae.corpus.files import shuffled
from apmae.languages import language_named
from apmae.study.config import CorpusConfig

FILES = {
    "A.java": b"class A { }",
    "p/B.java": '\ufeffclass B { String s = "é"; }\r\n'.encode(),
    "p/q/C.java": b"class C { }",
    "p/Latin.java": "class É { }".encode("latin-1"),
    "p/Blank.java": b" \n\t\n",
    "p/Big.java": b"/" * 101,
    "p/package-info.java": b"package p;",
    "module-info.java": b"module m { }",
    "p/notes.txt": b"not Java",
}
EXPECTED = {
    SourceFile("A.java", ".", "class A { }"),
    SourceFile("p/B.java", "p", 'class B { String s = "é"; }\r\n'),
    SourceFile("p/q/C.java", "p/q", "class C { }"),
    SkippedFile("p/Latin.java", "not UTF-8"),
    SkippedFile("p/Blank.java", "empty"),
    SkippedFile("p/Big.java", "too large"),
}


def make_directory(path, files=FILES):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("p")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tar(path, mode, files=FILES):
    with tarfile.open(path, mode) as archive:
        directory = tarfile.TarInfo("p.java")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


MAKERS = {
    "directory": lambda path, *files: make_directory(path / "src", *files),
    "zip": lambda path, *files: make_zip(path / "src.zip", *files),
    "tar": lambda path, *files: make_tar(path / "src.tar", "w", *files),
    "tar.gz": lambda path, *files: make_tar(path / "src.tar.gz", "w:gz", *files),
    "tar.xz": lambda path, *files: make_tar(path / "src.tar.xz", "w:xz", *files),
    "tar.bz2": lambda path, *files: make_tar(path / "src.tar.bz2", "w:bz2", *files),
}


@pytest.fixture(params=MAKERS)
def config(request, tmp_path):
    path = MAKERS[request.param](tmp_path)
    source = "directory" if path.is_dir() else "archive"
    return CorpusConfig(source=source, path=str(path), max_file_bytes=100)


def test_every_file_is_read_or_skipped_for_its_reason(config):
    positions, files = zip(*open_corpus(config, 0).files(), strict=True)
    assert positions == tuple(range(6))
    assert set(files) == EXPECTED


def test_going_on_at_a_position_gives_the_rest(config):
    whole = list(open_corpus(config, 5).files())
    for start in range(8):
        assert list(open_corpus(config, 5).files(start)) == whole[start:]


def test_max_files_counts_from_the_beginning(config):
    corpus = open_corpus(config.model_copy(update={"max_files": 4}), 0)
    assert [position for position, _ in corpus.files()] == [0, 1, 2, 3]
    assert [position for position, _ in corpus.files(3)] == [3]
    assert list(corpus.files(5)) == []


@pytest.mark.parametrize("kind", ["directory", "zip"])
def test_the_order_is_the_seeds(kind, tmp_path):
    many = {f"C{index}.java": b"class C { }" for index in range(30)}
    path = make_directory(tmp_path / "d", many) if kind == "directory" else make_zip(tmp_path / "z", many)
    config = CorpusConfig(source="directory" if kind == "directory" else "archive", path=str(path))
    orders = [[file.path for _, file in open_corpus(config, seed).files()] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0]) == sorted(orders[2])


def test_the_order_does_not_depend_on_how_the_files_were_listed():
    assert shuffled(["b", "a", "d", "c"], 0) == shuffled(["c", "d", "a", "b"], 0)


def test_a_tar_archive_keeps_its_own_order(tmp_path):
    path = make_tar(tmp_path / "a.tar.gz", "w:gz")
    config = CorpusConfig(source="archive", path=str(path))
    paths = [file.path for _, file in open_corpus(config, 3).files()]
    assert paths == [name for name in FILES if language_named("java").is_source(name)]


def test_the_fingerprint_is_that_of_names_and_contents(config, tmp_path):
    before = open_corpus(config, 0).fingerprint
    assert open_corpus(config, 1).fingerprint == before
    place = Path(config.path)
    os.utime(place / "A.java" if place.is_dir() else place, (4e9, 4e9))
    elsewhere = place.rename(tmp_path / "elsewhere")
    config = config.model_copy(update={"path": str(elsewhere)})
    assert open_corpus(config, 0).fingerprint == before


@pytest.mark.parametrize(
    "change", [{"A.java": b"class B { }"}, {"New.java": b"class A { }"}, {"A.java": b"/" * 101}], ids=str
)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_the_fingerprint_changes_with_the_files(make, change, tmp_path):
    prints = []
    for number, files in enumerate((FILES, {**FILES, **change})):
        (tmp_path / str(number)).mkdir()
        place = make(tmp_path / str(number), files)
        source = "directory" if place.is_dir() else "archive"
        prints.append(
            open_corpus(CorpusConfig(source=source, path=str(place), max_file_bytes=100), 0).fingerprint
        )
    assert prints[0] != prints[1]


def test_descriptions_do_not_say_where_it_lies(config, tmp_path):
    description = open_corpus(config, 0).description
    assert str(tmp_path) not in description
    assert "src" in description


def test_links_that_dangle_or_go_round_are_left_out(tmp_path):
    root = make_directory(tmp_path / "src", {"A.java": b"class A { }"})
    (root / "Gone.java").symlink_to("nowhere.java")
    (root / "round").symlink_to(root)
    corpus = open_corpus(CorpusConfig(source="directory", path=str(root)), 0)
    assert [file.path for _, file in corpus.files()] == ["A.java"]


def test_a_file_that_vanished_is_skipped(tmp_path):
    root = make_directory(tmp_path / "src", {"A.java": b"class A { }"})
    corpus = open_corpus(CorpusConfig(source="directory", path=str(root)), 0)
    (root / "A.java").unlink()
    assert list(corpus.files()) == [(0, SkippedFile("A.java", "unreadable"))]


def test_a_damaged_zip_entry_is_skipped(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"A.java": b"class A { }", "B.java": b"class B { }"})
    path.write_bytes(path.read_bytes().replace(b"class A", b"class X"))
    corpus = open_corpus(CorpusConfig(source="archive", path=str(path)), 0)
    assert {file for _, file in corpus.files()} == {
        SkippedFile("A.java", "unreadable"),
        SourceFile("B.java", ".", "class B { }"),
    }


def test_undecodable_file_names_become_printable(tmp_path):
    root = make_directory(tmp_path / "src", {"A.java": b"class A { }"})
    (root / "A.java").rename(root / os.fsdecode(b"\xff.java"))
    corpus = open_corpus(CorpusConfig(source="directory", path=str(root)), 0)
    assert [file.path for _, file in corpus.files()] == ["?.java"]


def test_a_truncated_tar_is_one_clear_error(tmp_path):
    files = {f"{index}.java": os.urandom(50_000).hex().encode() for index in range(4)}
    path = make_tar(tmp_path / "a.tar.gz", "w:gz", files)
    path.write_bytes(path.read_bytes()[:120_000])
    corpus = open_corpus(CorpusConfig(source="archive", path=str(path)), 0)
    with pytest.raises(ApmaeError, match=r"a\.tar\.gz: the archive is damaged"):
        list(corpus.files())


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("directory", "missing", "missing does not exist"),
        ("archive", "missing", "missing does not exist"),
        ("directory", "plain.txt", "is no directory; for an archive set corpus.source: archive"),
        ("archive", "empty", "is no archive; for a directory set corpus.source: directory"),
        ("directory", "empty", r"holds no \.java file"),
        ("archive", "empty.zip", r"holds no \.java file"),
        ("archive", "empty.tar", r"holds no \.java file"),
        ("archive", "plain.txt", "neither a zip nor a tar archive"),
    ],
)
def test_bad_paths_are_one_clear_error(source, name, message, tmp_path):
    make_directory(tmp_path / "empty", {"notes.txt": b""})
    make_zip(tmp_path / "empty.zip", {"notes.txt": b"x"})
    make_tar(tmp_path / "empty.tar", "w", {"notes.txt": b"x"})
    (tmp_path / "plain.txt").write_bytes(b"plain" * 1000)
    with pytest.raises(ApmaeError, match=message) as caught:
        open_corpus(CorpusConfig(source=source, path=str(tmp_path / name)), 0)
    assert "\n" not in str(caught.value)
