from apmae.config import CorpusConfig
from apmae.seeding import derive_seed
from organisms.files import is_held_out, read_files


def first_group(held_out):
    return next(f"p{number}" for number in range(100) if is_held_out(f"p{number}", 0) == held_out)


def test_packages_are_held_out_whole_and_equal_files_are_kept_once(tmp_path):
    kept, held_out = first_group(False), first_group(True)
    for group, name, text in (
        (kept, "A", "class A {}"),
        (kept, "B", "class B {}"),
        (held_out, "C", "class C {}"),
        (held_out, "B", "class B {}"),
        (held_out, "D", "class C {}\r\n".strip()),
    ):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.java").write_text(text, encoding="utf-8")
    files = read_files(CorpusConfig(source="directory", path=str(tmp_path)), 0)
    assert [file.text for file in files.training] == ["class A {}"]
    assert {file.group for file in files.held_out} == {held_out}
    assert sorted(file.text for file in files.held_out) == ["class B {}", "class C {}"]


def test_a_fifth_of_the_packages_is_held_out_and_falls_into_both_splits_of_a_study():
    groups = [f"java.base/p{number}" for number in range(4_000)]
    held_out = [group for group in groups if is_held_out(group, 0)]
    assert 0.18 < len(held_out) / len(groups) < 0.22
    test = [group for group in held_out if derive_seed(0, "split", group) / 2**32 < 0.25]
    assert 0.2 < len(test) / len(held_out) < 0.3
