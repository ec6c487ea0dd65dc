"""Which keys each role is about: by hand on eight tokens, on Java, and against other people's detectors."""

from zlib import crc32

import numpy as np
import pytest

from apmae.prompts import Document
from apmae.prompts.spans import _pairs, find_parts
from apmae.roles.relations import ROLES, TOKEN_ROLES, Syntax, token_relations, window_relations
from apmae.token_study.windows import PlacedWindow, Window

EIGHT = np.array([3, 5, 7, 5, 3, 5, 7, 9], dtype=np.int32)
SOURCE = """class Box {
    int size(int width, int height) {
        int area = width * height;
        return Math.max(area, width + (height));
    }
}
"""


def keys_of(relations):
    return {made.role: [set(np.flatnonzero(row).tolist()) for row in made.keys] for made in relations}


def tokens_of(text):
    """A document whose tokens are words, and other characters one by one, with the space before them."""
    starts, ends = [], []
    place = 0
    while place < len(text):
        end = place
        while end < len(text) and text[end].isspace():
            end += 1
        if end < len(text):
            word = end
            while word < len(text) and text[word].isalnum():
                word += 1
            end = max(word, end + 1)
        starts.append(place)
        ends.append(end)
        place = end
    ids = [crc32(text[slice(*token)].strip().encode()) % 10_000 for token in zip(starts, ends, strict=True)]
    return Document(text, ids, starts, ends)


def placed(document, places=None, hole=(), suffix=()):
    places = np.arange(len(document.token_ids)) if places is None else np.array(places)
    ids = np.array([document.token_ids[place] if place >= 0 else 0 for place in places], dtype=np.int32)
    window = Window("A.java", "g", 1, ids, np.zeros(len(ids), np.int8), np.ones(len(ids), np.bool_))
    masks = [np.isin(np.arange(len(ids)), list(where)) for where in (hole, suffix)]
    return PlacedWindow(window, document, places, *masks)


def test_token_roles_by_hand():
    keys = keys_of(token_relations(EIGHT))
    assert tuple(keys) == TOKEN_ROLES
    assert keys["first_token"] == [set()] + [{0}] * 7
    assert keys["self"] == [{place} for place in range(8)]
    assert keys["previous_token"] == [set()] + [{place} for place in range(7)]
    assert keys["duplicate_token"] == [set(), set(), set(), {1}, {0}, {1, 3}, {2}, set()]
    # Behind an earlier 5 stand 7 (place 2) and 3 (place 4), behind the earlier 3 a 5, behind the 7 a 5.
    assert keys["induction"] == [set(), set(), set(), {2}, {1}, {2, 4}, {3}, set()]


def test_token_roles_are_those_of_transformer_lens():
    """Nanda and Bloom 2022, `transformer_lens.head_detector`: its three detection patterns."""
    duplicate = np.tril(EIGHT[:, None] == EIGHT[None], -1)
    shifted = np.roll(duplicate, 1, axis=1)
    shifted[:, 0] = False
    previous = np.eye(8, k=-1, dtype=bool)
    found = {made.role: made.keys for made in token_relations(EIGHT)}
    assert (found["duplicate_token"] == duplicate).all()
    assert (found["induction"] == np.tril(shifted)).all()
    assert (found["previous_token"] == previous).all()


def relations_of(source, names):
    """By role, pairs of the texts of a query and of its keys."""
    document = tokens_of(source)
    texts = [source[slice(*token)].strip() for token in zip(document.starts, document.ends, strict=True)]
    numbered = [f"{text}@{texts[:place].count(text)}" for place, text in enumerate(texts)]
    found = {}
    for made in window_relations(placed(document), Syntax.of(document, "java")):
        found[made.role] = {
            numbered[query]: {numbered[key] for key in np.flatnonzero(row)}
            for query, row in enumerate(made.keys)
            if row.any()
        }
    return {name: found.get(name, {}) for name in names}


def test_roles_of_syntax_in_java():
    names = ("opening_bracket", "earlier_use", "declaration", "function_name", "line_start", "argument_list")
    found = relations_of(SOURCE, names)
    assert found["opening_bracket"] == {
        ")@0": {"(@0"},
        ")@1": {"(@2"},  # of (height)
        ")@2": {"(@1"},
        "}@0": {"{@1"},
        "}@1": {"{@0"},
    }
    assert found["earlier_use"]["width@2"] == {"width@0", "width@1"}
    assert found["earlier_use"]["area@1"] == {"area@0"}
    assert found["declaration"] == {
        "width@1": {"width@0"},
        "height@1": {"height@0"},
        "area@1": {"area@0"},
        "width@2": {"width@0"},
        "height@2": {"height@0"},
    }
    assert found["function_name"]["return@0"] == {"size@0"}
    assert "Box@0" not in found["function_name"]
    assert found["line_start"][";@0"] == {"int@3"}
    assert found["line_start"]["max@0"] == {"return@0"}
    # The token before is left out, and so is what stands before the list.
    assert found["argument_list"]["width@2"] == {"(@1", "area@1"}
    assert "area@0" not in found["argument_list"]


def test_a_window_has_only_what_stands_in_it():
    document = tokens_of(SOURCE)
    syntax = Syntax.of(document, "java")
    first = document.text[: document.text.index("return")].count("")
    start = next(place for place, at in enumerate(document.starts) if at >= first - 2)
    window = placed(document, range(start, len(document.token_ids)))
    declared = [made for made in window_relations(window, syntax) if made.role == "declaration"]
    assert not declared  # all declarations stand before it
    shuffled = placed(document, [-1, *range(8), -1])
    for made in window_relations(shuffled, syntax):
        if made.role not in TOKEN_ROLES:
            assert not made.keys[[0, 9]].any() and not made.keys[:, [0, 9]].any()


def test_keys_are_visible_and_among_the_candidates():
    document = tokens_of(SOURCE)
    count = len(document.token_ids)
    window = placed(document, hole=range(count - 5, count), suffix=range(5, 12))
    made = list(window_relations(window, Syntax.of(document, "java")))
    assert {relation.role for relation in made} == set(ROLES)
    for relation in made:
        assert not np.triu(relation.keys, 1).any(), relation.role
        assert not np.triu(relation.candidates, 1).any(), relation.role
        assert not (relation.keys & ~relation.candidates).any(), relation.role


def test_the_suffix_is_looked_at_from_the_hole_alone():
    document = tokens_of("a b c d e f g h")
    window = placed(document, hole=(6, 7), suffix=(3, 4, 5))
    (suffix,) = [made for made in window_relations(window, None) if made.role == "suffix"]
    assert keys_of([suffix])["suffix"] == [set()] * 6 + [{3, 4, 5}] * 2


def test_without_a_parser_the_roles_of_syntax_are_absent():
    document = tokens_of(SOURCE)
    assert {made.role for made in window_relations(placed(document), None)} == set(TOKEN_ROLES)


@pytest.mark.parametrize(
    ("language", "source", "declared"),
    [
        ("python", "def f(a, *b, c=1, **d):\n    e = [g for g in a]\n    import h as i\n", "f a b c d e g i"),
        ("javascript", "function f(a, b = 1) { const c = a; for (const d of c) {} }\n", "f a b c d"),
        ("typescript", "function f(a: number, b?: string) { let c = (d) => d; }\n", "f a b c d"),
        ("tsx", "const A = (p: P) => <div>{p}</div>;\n", "A p"),
        ("cpp", "int f(int a, X* b, Y& c) { int d = a; for (auto e : c) {} }\n", "f a b c d e"),
        ("java", "class A { int b; void c(int d) { for (var e : f) {} } }\n", "A b c d e"),
    ],
)
def test_names_are_declared_in_every_language(language, source, declared):
    parts = find_parts(source, language)
    assert [source[slice(*name)] for name in parts.declared] == declared.split()


def test_brackets_that_do_not_match_are_left_out():
    parts = find_parts("class A { int[] a = f(b[0], ')'); }", "java")
    source = "class A { int[] a = f(b[0], ')'); }"
    assert [source[opened[0] : closed[1]] for opened, closed in parts.brackets] == [
        "{ int[] a = f(b[0], ')'); }",
        "[]",
        "(b[0], ')')",
        "[0]",
    ]


def test_a_bracket_is_not_closed_by_another_kind():
    source = "class A { void f() { g(a]; h(b); } }"
    pairs = [source[opened[0] : closed[1]] for opened, closed in find_parts(source, "java").brackets]
    assert "(b)" in pairs and "()" in pairs
    assert not any(pair[0] + pair[-1] in ("(]", "[)", "{)", "(}") for pair in pairs)


def test_a_bracket_that_closes_nothing_takes_no_other_with_it():
    source = "{ ( [ ) ] a } )"
    opening, closing = (
        [(at, at + 1) for at, character in enumerate(source) if character in kind] for kind in ("([{", ")]}")
    )
    pairs = _pairs(source, opening, closing)
    assert [source[opened[0] : closed[1]] for opened, closed in pairs] == ["{ ( [ ) ] a }", "( [ )"]
