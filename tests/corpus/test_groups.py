import pytest

from apmae.common.errors import ApmaeError
from apmae.corpus import SkippedFile, SourceFile, open_corpus
from apmae.study.config import CorpusConfig


@pytest.fixture
def sources(tmp_path):
    for group in ("p", "p/q", "r"):
        (tmp_path / "src" / group).mkdir(parents=True)
        (tmp_path / "src" / group / "A.java").write_text(f"class A {{ /* {group} */ }}", encoding="utf-8")
    return tmp_path / "src"


def corpus(sources, lines):
    path = sources.parent / "groups.txt"
    path.write_text(lines, encoding="utf-8")
    config = CorpusConfig(source="directory", path=str(sources), groups_file=str(path))
    return open_corpus(config, seed=0)


def test_files_of_other_groups_are_skipped_and_keep_their_positions(sources):
    narrowed = dict(corpus(sources, "p/q\n\nr\n").files())
    everything = dict(open_corpus(CorpusConfig(source="directory", path=str(sources)), 0).files())
    assert narrowed.keys() == everything.keys()
    for position, file in everything.items():
        listed = file.group in ("p/q", "r")
        assert narrowed[position] == (file if listed else SkippedFile(file.path, "of another group"))
    assert sum(isinstance(file, SourceFile) for file in narrowed.values()) == 2


def test_going_on_from_a_position(sources):
    narrowed = corpus(sources, "r\n")
    assert list(narrowed.files(1)) == list(narrowed.files())[1:]


def test_the_fingerprint_changes_with_the_list_and_not_with_its_order(sources):
    fingerprint = corpus(sources, "p\nr\n").fingerprint
    assert corpus(sources, "r\np\n").fingerprint == fingerprint
    assert corpus(sources, "r\n").fingerprint != fingerprint


def test_a_list_that_is_missing_or_empty_is_an_error(sources):
    with pytest.raises(ApmaeError, match="lists no group"):
        corpus(sources, "\n")
    config = CorpusConfig(source="directory", path=str(sources), groups_file=str(sources / "none.txt"))
    with pytest.raises(ApmaeError, match="cannot be read"):
        open_corpus(config, seed=0)
