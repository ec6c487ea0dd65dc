"""Syntax classes of tokens, worked by hand with one token a word or character."""

from helpers.tokenizers import byte_level_tokenizer

from apmae.prompts import PromptFormatter
from apmae.token_study.syntax import SYNTAX_CLASSES, classify

JAVA = """class Alpha {
    // a note
    int beta = gamma(12) + "two words".size();
    boolean on = true && !off;
}
"""


def classes(text, language="java"):
    """(token's text, class, is first) of every token."""
    document = PromptFormatter(byte_level_tokenizer("x"), "causal", 16).tokenize(text)  # a byte a token
    found = classify(document, language)
    texts = [text[start:end] for start, end in zip(document.starts, document.ends, strict=True)]
    names = [SYNTAX_CLASSES[number] for number in found.syntax]
    return list(zip(texts, names, found.is_first.tolist(), strict=True))


def of(found, name):
    """The text of a class's tokens; a bar stands before those that are first."""
    return "".join(("|" if first else "") + text for text, syntax, first in found if syntax == name)


def test_java_tokens_have_the_class_of_their_text():
    found = classes(JAVA)
    assert of(found, "identifiers") == "|Alpha|beta|gamma|size|on|off"
    assert of(found, "numeric_literals") == "|12"
    assert of(found, "string_literals") == "|twowords"
    assert of(found, "boolean_literals") == "|true"
    assert of(found, "mathematical_operators") == "|+"
    assert of(found, "boolean_operators") == "|&&|!"
    assert of(found, "assignment_operators") == "|=|="
    assert of(found, "closing_bracket") == "|)|)|}"
    assert of(found, "keywords") == "|class"
    assert of(found, "comment") == "|//anote"
    assert of(found, "eol") == "|\n|\n|\n|\n"
    assert set(of(found, "whitespace")) <= set("| \n")


def test_white_space_that_ends_a_line_of_code_is_eol():
    (_, name, first), *_ = [token for token in classes("int a;  \n\n  int b;\n") if token[0] == "\n"]
    assert (name, first) == ("eol", True)


def test_a_text_without_a_parser_is_other_and_white_space():
    assert classes("a b\n", None) == [
        ("a", "other", True),
        (" ", "whitespace", True),
        ("b", "other", True),
        ("\n", "whitespace", True),
    ]


def test_every_token_has_a_class_in_characters_of_several_bytes():
    text = 'class A { String s = "é中𝕏"; }\n'
    found = classes(text)
    assert of(found, "string_literals").count("é") >= 1
    assert {name for _, name, _ in found} >= {"string_literals", "identifiers", "other"}
