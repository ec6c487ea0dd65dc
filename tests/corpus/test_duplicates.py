import random
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apmae.corpus.duplicates import DuplicateIndex, bands, fingerprint, shingles

SEED = 7
WORDS = [f"w{number}" for number in range(1_000)]


def jaccard(first, second):
    """By definition, over runs of five words."""
    a, b = ({tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (first, second))
    return len(a & b) / len(a | b)


def changed(words, count, draw):
    """The words with `count` of them replaced."""
    places = set(draw.sample(range(len(words)), count))
    return [f"new{place}" if place in places else word for place, word in enumerate(words)]


def index_of(*texts, similarity=0.85):
    index = DuplicateIndex(similarity, SEED)
    for text in texts:
        index.add(fingerprint(text, text, SEED))
    return index


def find(index, text):
    return index.find(fingerprint(text, text, SEED))


def test_shingles_are_runs_of_five_tokens():
    assert shingles("if (a1 >= b) c();") == {
        b"if ( a1 > =",
        b"( a1 > = b",
        b"a1 > = b )",
        b"> = b ) c",
        b"= b ) c (",
        b"b ) c ( )",
        b") c ( ) ;",
    }
    assert shingles("a = 1") == {b"a = 1"}


def test_the_contents_of_strings_do_not_count():
    assert (
        shingles("f(\"it's \\\" here\", 'c');")
        == shingles("f('', \"\");")
        == {
            b'f ( " " ,',
            b'( " " , "',
            b'" " , " "',
            b'" , " " )',
            b', " " ) ;',
        }
    )


@given(st.text(st.sampled_from("ab\n\r"), max_size=30))
def test_exact_duplicates_differ_in_line_ends_at_most(text):
    index = index_of(text)
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    assert find(index, unix) == find(index, unix.replace("\n", "\r\n")) == "duplicate"
    assert find(index, text + "c") != "duplicate"


def test_white_space_makes_a_near_duplicate():
    assert find(index_of("int a = 1 + b;\n"), "int  a = 1\n + b;") == "near duplicate"


def test_nothing_is_a_duplicate_of_an_empty_index():
    assert find(index_of(), "class A { }") is None


@pytest.mark.parametrize(("similarity", "expected"), [(0.85, (14, 9)), (1.0, (2, 64))])
def test_bands_find_95_percent_of_the_pairs_at_the_border(similarity, expected):
    """0.85: 14 bands of 9 share one with 1 - (1 - 0.85**9)**14 = 97%, 12 of 10 with 93%."""
    assert bands(similarity) == expected


@pytest.mark.parametrize("similarity", [0.7, 0.85])
def test_near_duplicates_are_those_of_the_true_similarity(similarity):
    """An estimate errs by 0.03 to 0.04, one standard deviation; pairs far from the border are told apart."""
    draw = random.Random(0)
    outcomes = {"alike": [], "different": []}
    for _ in range(300):
        words = draw.choices(WORDS, k=400)
        other = changed(words, draw.randint(0, 40), draw)
        found = find(index_of(" ".join(words), similarity=similarity), " ".join(other))
        true = jaccard(words, other)
        if true >= similarity + 0.1:
            outcomes["alike"].append(found is not None)
        elif true <= similarity - 0.12:
            outcomes["different"].append(found is not None)
    assert min(len(found) for found in outcomes.values()) >= 20
    assert sum(outcomes["alike"]) >= 0.95 * len(outcomes["alike"])
    assert not any(outcomes["different"])


def test_among_many_files_the_similar_one_is_found():
    draw = random.Random(0)
    files = [draw.choices(WORDS, k=200) for _ in range(300)]
    index = index_of(*(" ".join(words) for words in files))
    assert all(find(index, " ".join(changed(words, 1, draw))) == "near duplicate" for words in files[::10])
    assert not any(find(index, " ".join(draw.choices(WORDS, k=200))) for _ in range(50))


def test_fingerprints_are_the_same_in_every_process():
    found = fingerprint("a b c d e f", "a b c d e f", 1)
    assert found.digest == blake2b(b"a b c d e f", digest_size=16).digest()
    assert len(found.signature) == 4 * 128
    assert found.signature.hex()[:16] == "dc5de12de868eeac"
    assert fingerprint("a b c d e f", "a b c d e f", 2).signature != found.signature
