"""Functions of every language: names, and where they start and end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apmae.languages import language_names
from apmae.prompts import find_functions

JAVA = """class Ä { Ä() { } int a(int x) {
  Runnable r = new Runnable() { public void run() { } }; return x; } }
record R(int a) { R { } }
interface I { void open(); }"""
PYTHON = """@cached
def outer():
    def inner(): return lambda: 1
async def later(): pass"""
JAVASCRIPT = """function one() {} function* two() {}
const three = () => 3; x.four = function () {};
class C { five() {} #six() {} seven = () => 7; static eight() {} }
const o = { nine: () => 9, ten() {} }; run(() => 0); (function eleven() {})();"""
CPP = """int one(int x) { return x; }
void A::B::two() {}
A::A() : x(1) {}
A::~A() {}
bool operator==(A a, A b) { return true; }
int declared(int x);
template <class T> T three(T t) { return t; }"""
EXPECTED = {
    "java": (JAVA, ["Ä", "a", "run", "R", "open"]),
    "python": (PYTHON, ["outer", "inner", "later"]),
    "javascript": (
        JAVASCRIPT,
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"],
    ),
    "cpp": (CPP, ["one", "two", "A", "", "", "three"]),
}


@pytest.mark.parametrize("language", language_names())
def test_functions_in_the_order_of_the_text(language):
    source, names = EXPECTED[language if language in EXPECTED else "javascript"]
    functions = find_functions(source, language)
    assert [function.name for function in functions] == names
    assert [function.start for function in functions] == sorted(function.start for function in functions)
    assert all(function.name in source[function.start : function.end] for function in functions)


def test_a_function_holds_those_within_it():
    outer, inner, later = find_functions(PYTHON, "python")
    assert PYTHON[outer.start : outer.end] == PYTHON[PYTHON.index("def outer") : PYTHON.index("\nasync")]
    assert outer.start < inner.start < inner.end == outer.end < later.start


@given(st.text(max_size=200))
def test_any_text_has_a_list_of_functions(text):
    for function in find_functions(text, "java"):
        assert 0 <= function.start < function.end <= len(text)
