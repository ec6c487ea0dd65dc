"""The sources of a JDK: an installed `src.zip`, or Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from apmae.common.errors import ApmaeError
from apmae.corpus.files import Corpus
from apmae.corpus.local import zip_corpus
from apmae.study.config import CorpusConfig

INSTALLED = (
    ("/usr/lib/jvm", "*"),
    ("/Library/Java/JavaVirtualMachines", "*/Contents/Home"),
    ("~/.sdkman/candidates/java", "*"),
)
"""Places of JDK homes: a directory and a pattern."""

DEBIAN_PACKAGES = ("openjdk-17-source", "openjdk-21-source", "openjdk-25-source")
"""Packages that hold only a `src.zip`, in the order they are tried."""

INSTALL = "install a JDK with sources (Debian: `apt-get install openjdk-17-source`)"


def jdk_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """The Java files of a JDK's `src.zip`. A file's group is its package."""
    sources = find_jdk_sources(config.path)
    corpus = zip_corpus(sources, config, seed)
    return replace(corpus, description=f"{_jdk_name(sources)}, {corpus.description}")


def find_jdk_sources(path: str | None = None) -> Path:
    """The `src.zip` of a JDK.

    Args:
        path: a JDK's home or its `src.zip`. By default the first found of: $JAVA_HOME, the JDKs at
            their systems' usual places in the order of their paths, the project's cache.

    Raises:
        ApmaeError: no `src.zip` was found.
    """
    if path is not None:
        given = Path(path).expanduser()
        if given.is_file():
            return given
        if not (sources := _sources_of(given)):
            raise ApmaeError(f"corpus.path: {given} is neither a src.zip nor the home of a JDK with one")
        return sources
    for home in _homes():
        if sources := _sources_of(home):
            return sources
    raise ApmaeError(
        f"no JDK with a src.zip found: {INSTALL}, run `apmae fetch-jdk`, or set JAVA_HOME or corpus.path"
    )


def jdk_cache() -> Path:
    """The cache of fetched JDK sources: $XDG_CACHE_HOME/apmae/jdk."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "apmae" / "jdk"


def fetch_jdk_sources(cache: Path) -> Path:
    """Download Debian's or Ubuntu's package of JDK sources into `cache` and unpack it, without root.

    Returns:
        Path of the `src.zip`, or of the one that is already there.

    Raises:
        ApmaeError: this machine has no apt-get, or apt-get finds none of the packages.
    """
    for home in sorted(cache.glob("*")):
        if sources := _sources_of(home):
            return sources
    remedy = f"{INSTALL}, or set JAVA_HOME or corpus.path to one"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ApmaeError(f"only on Debian and Ubuntu can JDK sources be fetched: {remedy}")
    try:
        return _fetch(cache)
    except (OSError, subprocess.CalledProcessError, LookupError) as error:
        raise ApmaeError(f"no JDK sources fetched into {cache} ({error}): {remedy}") from None


def find_or_fetch_jdk_sources() -> Path:
    """The `src.zip` of the source `jdk`, fetched into the cache if no JDK has one.

    Raises:
        ApmaeError: no `src.zip` was found and none can be fetched.
    """
    if any(_sources_of(home) for home in _homes()):
        return find_jdk_sources()
    return fetch_jdk_sources(jdk_cache())


def _fetch(cache: Path) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".") as work:
        package = _download(Path(work))
        home = _unpack(package, Path(work)).rename(cache / package.stem)
    return home / "lib" / "src.zip"


def _homes() -> Iterator[Path]:
    if java_home := os.environ.get("JAVA_HOME"):
        yield Path(java_home)
    for directory, pattern in INSTALLED:
        yield from sorted(Path(directory).expanduser().glob(pattern))
    yield from sorted(jdk_cache().glob("*"))


def _sources_of(home: Path) -> Path | None:
    """`is_file` is false for a dangling link, which Debian installs if the sources are missing."""
    return next((path for path in (home / "lib/src.zip", home / "src.zip") if path.is_file()), None)


def _jdk_name(sources: Path) -> str:
    for home in (sources.parent.parent, sources.parent):
        if (home / "release").is_file():
            lines = (home / "release").read_text(encoding="utf-8", errors="replace").splitlines()
            values = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
            return f"JDK {values.get('JAVA_VERSION', 'of unknown version')}"
    return "JDK of unknown version"


def _download(work: Path) -> Path:
    """Try the system's package lists first, since only root can renew them."""
    private = ["-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache").mkdir()
    for options in ([], private):
        if options:
            _apt_get(work, *options, "update")
        for package in DEBIAN_PACKAGES:
            _apt_get(work, *options, "download", package)
            if found := sorted(work.glob("*.deb")):
                return found[0]
    raise LookupError(f"apt-get has none of {', '.join(DEBIAN_PACKAGES)}")


def _apt_get(work: Path, *arguments: str) -> None:
    # Run as root, apt-get drops to a user that cannot write to a private directory.
    patience = [
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::http::Timeout=30",
        "-o",
        "Acquire::Retries=1",
    ]
    subprocess.run(["apt-get", *patience, *arguments], cwd=work, capture_output=True, check=False)


def _unpack(package: Path, work: Path) -> Path:
    """Lay the package's `src.zip` out like a JDK's home, with a `release` file that names the version."""
    subprocess.run(["dpkg-deb", "-x", package, work / "package"], capture_output=True, check=True)
    sources = next(path for path in sorted(work.glob("package/**/src.zip")) if not path.is_symlink())
    home = work / "home"
    (home / "lib").mkdir(parents=True)
    sources.rename(home / "lib" / "src.zip")
    version = package.stem.split("_")[1]
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n', encoding="utf-8")
    return home
