"""Source files in a directory or an archive. Archives are read without unpacking."""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from itertools import islice
from pathlib import Path

from apmae.common.checksum import checksum_of, new_checksum
from apmae.common.errors import ApmaeError
from apmae.corpus.files import Corpus, SkippedFile, SourceFile, printable, shuffled, source_file
from apmae.languages import Language, language_named
from apmae.study.config import CorpusConfig

DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    RuntimeError,  # an encrypted entry, and a NotImplementedError
)
"""What the readers of archives raise where bytes are not what they should be."""

BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How entries of a zip archive may be compressed: `zipfile` unpacks no more of them than it is asked for. Of
others it unpacks all, however small an entry says it is."""


def directory_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """All files of the language below a directory. Links to directories are not followed."""
    root = _existing(config)
    if not root.is_dir():
        raise ApmaeError(f"{root} is no directory; for an archive set corpus.source: archive")
    language = language_named(config.language)
    return tree_corpus(root, language, config, seed, name=f"directory {root.resolve().name}")


def tree_corpus(
    root: Path,
    language: Language,
    config: CorpusConfig,
    seed: int,
    *,
    name: str,
    left_out: frozenset[str] = frozenset(),
    group_of: Callable[[str], str | None] = lambda path: None,
) -> Corpus:
    """All files of a language below `root`, except in directories named in `left_out`.

    Args:
        name: for the corpus's description.
        group_of: group of a path; None for its directory.
    """
    paths = shuffled(_list_directory(root, language, left_out), seed)
    _require(paths, root, language)
    return Corpus(
        fingerprint=_directory_fingerprint(root, paths, config.max_file_bytes),
        description=f"{name}: {len(paths):,} {language.file_kind} files",
        read=partial(_read_directory, root, paths, config.max_file_bytes, group_of),
        max_files=config.max_files,
    )


def archive_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """All files of the language in a zip or tar archive.

    A tar archive is read in its own order, without shuffling: going back in a compressed archive means
    reading it again from the start.
    """
    path = _existing(config)
    if not path.is_file():
        raise ApmaeError(f"{path} is no archive; for a directory set corpus.source: directory")
    if zipfile.is_zipfile(path):
        return zip_corpus(path, config, seed)
    try:
        tarfile.open(path).close()
    except DAMAGE:
        raise ApmaeError(f"{path}: neither a zip nor a tar archive that can be read") from None
    language = language_named(config.language)
    read = partial(_read_tar, path, language, config.max_file_bytes)
    _require(list(islice(read(0), 1)), path, language)
    return Corpus(f"tar:{checksum_of(path)}", f"archive {path.name}", read, config.max_files)


def zip_corpus(path: Path, config: CorpusConfig, seed: int) -> Corpus:
    """All files of the language in a zip archive."""
    language = language_named(config.language)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if language.is_source(entry.filename)]
    except DAMAGE as error:
        raise ApmaeError(f"{path}: cannot be read as a zip archive ({error})") from None
    names = shuffled([entry.filename for entry in entries], seed)
    _require(names, path, language)
    return Corpus(
        fingerprint=_zip_fingerprint(entries),
        description=f"archive {path.name}: {len(names):,} {language.file_kind} files",
        read=partial(_read_zip, path, names, config.max_file_bytes),
        max_files=config.max_files,
    )


def _directory_fingerprint(root: Path, paths: Iterable[str], max_bytes: int) -> str:
    """Identity of names and contents; of a file that is too large, or cannot be read, its name counts."""
    digest = new_checksum()
    for path in sorted(paths):
        digest.update(f"{printable(path)}\0".encode())
        try:
            with (root / path).open("rb") as file:
                content = file.read(max_bytes + 1)
        except OSError:
            continue
        if len(content) <= max_bytes:
            digest.update(new_checksum(content).digest())
    return f"directory:{digest.hexdigest()}"


def _zip_fingerprint(entries: Iterable[zipfile.ZipInfo]) -> str:
    """Identity of the files' names and of the checksums of their contents, which the archive lists."""
    listed = sorted((printable(entry.filename), entry.file_size, entry.CRC) for entry in entries)
    return f"zip:{new_checksum(repr(listed).encode()).hexdigest()}"


def _existing(config: CorpusConfig) -> Path:
    assert config.path
    path = Path(config.path).expanduser()
    if not path.exists():
        raise ApmaeError(f"corpus.path: {path} does not exist")
    return path


def _require(files: Sized, where: Path, language: Language) -> None:
    if not len(files):
        raise ApmaeError(f"{where} holds no {language.file_kind} file")


def _list_directory(root: Path, language: Language, left_out: frozenset[str]) -> list[str]:
    found = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [name for name in subdirectories if name not in left_out]
        paths = (Path(directory, name) for name in names if language.is_source(name))
        found += [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    return found


def _read_directory(
    root: Path, paths: list[str], max_bytes: int, group_of: Callable[[str], str | None], start: int
) -> Iterator[SourceFile | SkippedFile]:
    for path in paths[start:]:
        try:
            if (root / path).stat().st_size > max_bytes:
                yield SkippedFile(printable(path), "too large")
            else:
                yield source_file(path, (root / path).read_bytes(), group_of(path))
        except OSError:
            yield SkippedFile(printable(path), "unreadable")


def _read_zip(path: Path, names: list[str], max_bytes: int, start: int) -> Iterator[SourceFile | SkippedFile]:
    with zipfile.ZipFile(path) as archive:
        for name in names[start:]:
            try:
                entry = archive.getinfo(name)
                if entry.file_size > max_bytes:
                    yield SkippedFile(printable(name), "too large")
                elif entry.compress_type not in BOUNDED:
                    yield SkippedFile(printable(name), "unreadable")
                else:
                    with archive.open(entry) as content:
                        yield source_file(name, content.read(entry.file_size))
            except DAMAGE:
                yield SkippedFile(printable(name), "unreadable")


def _read_tar(
    path: Path, language: Language, max_bytes: int, start: int
) -> Iterator[SourceFile | SkippedFile]:
    try:
        with tarfile.open(path) as archive:
            position = 0
            for member in archive:
                if not (member.isfile() and language.is_source(member.name)):
                    continue
                position += 1
                if position <= start:
                    continue
                if member.size > max_bytes:
                    yield SkippedFile(printable(member.name), "too large")
                    continue
                content = archive.extractfile(member)
                assert content
                yield source_file(member.name, content.read())
    except DAMAGE as error:
        raise ApmaeError(f"{path}: the archive is damaged ({error})") from None
