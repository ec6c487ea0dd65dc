import zipfile
from pathlib import Path

import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import (
    SourceFile,
    fetch_jdk_sources,
    find_or_fetch_jdk_sources,
    jdk,
    jdk_cache,
    open_corpus,
)
from apmae.study.config import CorpusConfig


def make_jdk(home, version="17.0.1", place="lib/src.zip"):
    sources = home / place
    sources.parent.mkdir(parents=True)
    with zipfile.ZipFile(sources, "w") as archive:
        archive.writestr("java.base/java/util/List.java", "class List { }")
        archive.writestr("java.base/module-info.java", "module java.base { }")
    if version is not None:
        (home / "release").write_text(
            'IMPLEMENTOR="X"\n' + (f'JAVA_VERSION="{version}"\n' if version else "")
        )
    return sources


@pytest.fixture(autouse=True)
def no_jdk(monkeypatch, tmp_path):
    """A machine without a JDK."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jdk, "INSTALLED", ((str(tmp_path / "jvm"), "*"),))


def test_files_are_grouped_by_package(tmp_path):
    make_jdk(tmp_path / "jvm" / "jdk-17")
    corpus = open_corpus(CorpusConfig(), 0)
    path = "java.base/java/util/List.java"
    assert list(corpus.files()) == [(0, SourceFile(path, "java.base/java/util", "class List { }"))]
    assert corpus.description == "JDK 17.0.1, archive src.zip: 1 .java files"


@pytest.mark.parametrize("version", [None, ""])
def test_a_jdk_that_does_not_say_its_version(version, tmp_path):
    sources = make_jdk(tmp_path / "jdk", version=version)
    corpus = open_corpus(CorpusConfig(path=str(sources)), 0)
    assert corpus.description.startswith("JDK of unknown version, ")


def test_where_a_jdk_is_looked_for_first(tmp_path, monkeypatch):
    cached = make_jdk(jdk_cache() / "fetched", version=None)
    assert jdk.find_jdk_sources() == cached
    (tmp_path / "jvm" / "a" / "lib").mkdir(parents=True)
    (tmp_path / "jvm" / "a" / "lib" / "src.zip").symlink_to("../nowhere/src.zip")
    assert jdk.find_jdk_sources() == cached
    later = make_jdk(tmp_path / "jvm" / "c")
    assert jdk.find_jdk_sources() == later
    earlier = make_jdk(tmp_path / "jvm" / "b", place="src.zip")
    assert jdk.find_jdk_sources() == earlier
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jvm" / "a"))
    assert jdk.find_jdk_sources() == earlier
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jvm" / "c"))
    assert jdk.find_jdk_sources() == later
    named = make_jdk(tmp_path / "named")
    assert jdk.find_jdk_sources(str(tmp_path / "named")) == named
    assert jdk.find_jdk_sources(str(named)) == named


def test_no_jdk_is_one_clear_error(tmp_path):
    with pytest.raises(ApmaeError, match=r"apt-get install openjdk-17-source.*apmae fetch-jdk.*JAVA_HOME"):
        open_corpus(CorpusConfig(), 0)
    make_jdk(tmp_path / "jvm" / "there")
    with pytest.raises(ApmaeError, match=r"elsewhere is neither a src.zip nor the home of a JDK"):
        open_corpus(CorpusConfig(path=str(tmp_path / "elsewhere")), 0)


def test_a_source_that_is_no_zip_is_one_clear_error(tmp_path):
    (tmp_path / "src.zip").write_text("no zip")
    with pytest.raises(ApmaeError, match=r"src\.zip: cannot be read as a zip archive"):
        open_corpus(CorpusConfig(path=str(tmp_path / "src.zip")), 0)


APT_GET = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  {serves}) cp {zip} openjdk-17-source_17.0.9-1_all.deb ;;
  *) exit 100 ;;
esac
"""
DPKG_DEB = """#!/bin/sh
mkdir -p "$3/usr/lib/jvm/openjdk-17/lib"
cp "$2" "$3/usr/lib/jvm/openjdk-17/lib/src.zip"
mkdir "$3/a"
ln -s ../usr/lib/jvm/openjdk-17/lib/src.zip "$3/a/src.zip"
"""


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """Stand-ins for apt-get and dpkg-deb; apt-get serves only what matches a shell pattern."""
    package = make_jdk(tmp_path / "package")
    log = tmp_path / "log"

    def install(serves):
        scripts = {"apt-get": APT_GET.format(log=log, zip=package, serves=serves), "dpkg-deb": DPKG_DEB}
        for name, text in scripts.items():
            script = tmp_path / "bin" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(text)
            script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        return lambda: log.read_text().splitlines()

    return install


def test_sources_are_fetched_once_and_found(debian, tmp_path):
    calls = debian("*download*openjdk-17-source")
    sources = fetch_jdk_sources(jdk_cache())
    assert sources == jdk_cache() / "openjdk-17-source_17.0.9-1_all" / "lib" / "src.zip"
    assert [path.name for path in jdk_cache().iterdir()] == ["openjdk-17-source_17.0.9-1_all"]
    assert len(calls()) == 1
    assert fetch_jdk_sources(jdk_cache()) == sources
    assert len(calls()) == 1
    assert open_corpus(CorpusConfig(), 0).description == "JDK 17.0.9-1, archive src.zip: 1 .java files"


def test_sources_are_fetched_only_where_no_jdk_has_any(debian, tmp_path):
    calls = debian("*download*openjdk-17-source")
    installed = make_jdk(tmp_path / "jvm" / "jdk-25")
    assert find_or_fetch_jdk_sources() == installed
    installed.unlink()
    assert find_or_fetch_jdk_sources().is_relative_to(jdk_cache())
    assert len(calls()) == 1


def test_private_package_lists_are_used_where_the_systems_do_not_serve(debian):
    calls = debian("*Dir::State::lists=*download*")
    assert fetch_jdk_sources(jdk_cache()).is_file()
    tried = [(call.split()[-1], "Dir::State::lists" in call) for call in calls()]
    assert tried == [
        ("openjdk-17-source", False),
        ("openjdk-21-source", False),
        ("openjdk-25-source", False),
        ("update", True),
        ("openjdk-17-source", True),
    ]


def test_apt_get_without_the_packages_is_one_clear_error(debian):
    debian("nothing")
    with pytest.raises(ApmaeError, match=r"apt-get has none of openjdk-17-source.*set JAVA_HOME"):
        fetch_jdk_sources(jdk_cache())
    assert list(jdk_cache().iterdir()) == []


def test_another_system_than_debian_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ApmaeError, match=r"only on Debian and Ubuntu.*set JAVA_HOME"):
        fetch_jdk_sources(jdk_cache())


def test_a_cache_that_cannot_be_written_is_one_clear_error(debian, tmp_path):
    debian("*download*")
    (tmp_path / "file").write_text("")
    with pytest.raises(ApmaeError, match=r"no JDK sources fetched into"):
        fetch_jdk_sources(tmp_path / "file" / "jdk")


def test_the_cache_is_below_the_home_without_xdg(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert jdk_cache() == Path("/somewhere/.cache/apmae/jdk")
