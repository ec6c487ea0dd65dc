"""Changed archives and hostile ones: files are read or skipped, or one line says why not.

`APMAE_FUZZ=10000` tries as many; the inputs are the same in every run.
"""

import io
import os
import random
import tarfile
import tracemalloc
import zipfile

import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import SkippedFile, SourceFile, open_corpus
from apmae.study.config import CorpusConfig

TRIALS = int(os.environ.get("APMAE_FUZZ", "400")) // 7
TEXTS = {f"p{number}/C{number}.java": f"class C{number} {{ }}\n" * 20 for number in range(8)}


def made_zip(compression, entries=None):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, text in (entries or TEXTS).items():
            archive.writestr(name, text)
    return data.getvalue()


def made_tar(mode, kind=tarfile.PAX_FORMAT):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode, format=kind) as archive:
        for name, text in TEXTS.items():
            member = tarfile.TarInfo("é" * 60 + name)  # too long for a plain header
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


ARCHIVES = {
    "stored": lambda: made_zip(zipfile.ZIP_STORED),
    "deflated": lambda: made_zip(zipfile.ZIP_DEFLATED),
    "pax": lambda: made_tar("w"),
    "gnu": lambda: made_tar("w", tarfile.GNU_FORMAT),
    "gz": lambda: made_tar("w:gz"),
    "bz2": lambda: made_tar("w:bz2"),
    "xz": lambda: made_tar("w:xz"),
}


def changed(data, generator):
    """A few bits flipped, cut off, a piece replaced, a byte of a header or four bytes set."""
    data = bytearray(data)
    way, place = generator.randrange(5), generator.randrange(len(data))
    if way == 0:
        for _ in range(generator.randrange(1, 6)):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif way == 1:
        del data[place:]
    elif way == 2:
        data[place : place + generator.randrange(1, 40)] = generator.randbytes(generator.randrange(40))
    elif way == 3:
        headers = [at for at in range(len(data)) if data[at : at + 2] == b"PK"] or range(0, len(data), 512)
        place = min(len(data) - 1, generator.choice(headers) + generator.randrange(60))
        data[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF))
    else:
        data[place : place + 4] = generator.choice((b"\xff" * 4, b"\0" * 4, b"\x7f" + b"\xff" * 3))
    return bytes(data)


def files_of(path, data, **settings):
    path.write_bytes(data)
    config = CorpusConfig(source="archive", path=str(path), **settings)
    return [file for _, file in open_corpus(config, 0).files()]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_changed_archive_is_read_or_refused_in_a_line(kind, tmp_path):
    generator, whole = random.Random(kind), ARCHIVES[kind]()
    assert len(files_of(tmp_path / "whole", whole)) == 8
    for _ in range(TRIALS):
        try:
            files_of(tmp_path / "changed", changed(whole, generator))
        except ApmaeError as error:
            assert "\n" not in str(error)
            assert len(str(error)) - len(str(tmp_path)) <= 300


@pytest.mark.parametrize("kind", ["stored", "deflated"])
def test_one_damaged_entry_of_a_zip_leaves_the_others(kind, tmp_path):
    data = bytearray(ARCHIVES[kind]())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.infolist()[3]
    start = entry.header_offset + 30 + len(entry.filename)
    data[start : start + 12] = b"\xff" * 12
    files = files_of(tmp_path / "a.zip", bytes(data))
    assert [file for file in files if isinstance(file, SkippedFile)] == [
        SkippedFile("p3/C3.java", "unreadable")
    ]
    assert len(files) == 8


def test_names_are_never_paths_of_this_machine(tmp_path):
    names = ("/etc/A.java", "../../B.java", "p/../../C.java", "C:\\D.java", "E\0.java", "\u202eF.java")
    files = files_of(tmp_path / "a.zip", made_zip(zipfile.ZIP_STORED, dict.fromkeys(names, "class A { }")))
    assert {file.text for file in files} == {"class A { }"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.zip"]


def test_links_are_not_followed(tmp_path):
    (tmp_path / "Secret.java").write_text("class Secret { }")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"L{kind.decode()}.java")
            member.type, member.linkname = kind, str(tmp_path / "Secret.java")
            archive.addfile(member)
    with pytest.raises(ApmaeError, match=r"holds no \.java file"):
        files_of(tmp_path / "a.tar", data.getvalue())


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_is_not_unpacked(compression, tmp_path):
    """300 MB of blanks, told as such and told as 100 bytes."""
    data = io.BytesIO(made_zip(compression, {"Bomb.java": " " * 300_000_000}))
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("A.java", "class A { }")
    data = data.getvalue()
    tracemalloc.start()
    told = files_of(tmp_path / "told.zip", data)
    assert set(told) == {SkippedFile("Bomb.java", "too large"), SourceFile("A.java", ".", "class A { }")}
    size = (300_000_000).to_bytes(4, "little")
    lying = files_of(tmp_path / "lying.zip", data.replace(size, (100).to_bytes(4, "little")))
    assert SourceFile("A.java", ".", "class A { }") in lying
    assert len(lying) == 2
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
