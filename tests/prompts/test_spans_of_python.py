"""Python's holes in its standard library, against what Python's own tokenizer and parser say."""

import ast
import io
import keyword
import re
import sysconfig
import tokenize
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from apmae.prompts.spans import find_spans, span_tasks

FILES = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::8]
SOFT_KEYWORDS = {"match", "case", "type", "_"}
NO_IDENTIFIERS = {*SOFT_KEYWORDS, "__future__"}
OPERATORS = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"},
    **{ast.Pow: "**", ast.MatMult: "@", ast.UAdd: "+", ast.USub: "-"},
}
COMPARISONS = {
    **{ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="},
    **{ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in"},
}
STRING = re.compile(r"([A-Za-z]*)(\'\'\'|\"\"\"|\'|\")(.*)\2", re.DOTALL)
LINE_BREAKS = {tokenize.NEWLINE, tokenize.NL}
BETWEEN_STATEMENTS = {*LINE_BREAKS, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.COMMENT}


class Module:
    """A source file: its holes, tokens and syntax tree."""

    def __init__(self, path):
        self.source = path.read_text(encoding="utf-8")
        self.spans = find_spans(self.source, "python", span_tasks("python"))
        self.tokens = list(tokenize.generate_tokens(io.StringIO(self.source).readline))
        self.nodes = list(ast.walk(ast.parse(self.source)))
        self.line_starts = [0, *(match.end() for match in re.finditer("\n", self.source))]
        self.interpolated = [(self.at(a), self.at(b)) for a, b in _interpolated(self.tokens)]

    def at(self, position):
        return self.line_starts[position[0] - 1] + position[1]

    def count(self, task):
        return Counter(self.source[span.start : span.end] for span in self.spans[task])

    def holes(self, *tasks):
        """Starts and texts outside of interpolated strings, which tokenizers of 3.11 do not look into."""
        spans = [span for task in tasks for span in self.spans[task]]
        return {
            (span.start, self.source[span.start : span.end])
            for span in spans
            if not any(start <= span.start < end for start, end in self.interpolated)
        }

    def tokens_that(self, is_wanted):
        starts = {(self.at(token.start), token.string) for token in self.tokens if is_wanted(token)}
        inside = {(start, text) for start, text in starts for a, b in self.interpolated if a <= start < b}
        return starts - inside

    def of_type(self, *types):
        return [node for node in self.nodes if isinstance(node, types)]


def _interpolated(tokens):
    """Ranges of f-strings: one token up to Python 3.11, several after it."""
    starts = []
    for token in tokens:
        name = tokenize.tok_name[token.type]
        if name == "STRING" and "f" in STRING.fullmatch(token.string)[1].lower():
            yield token.start, token.end
        elif name in {"FSTRING_START", "TSTRING_START"}:
            starts.append(token.start)
        elif name in {"FSTRING_END", "TSTRING_END"}:
            yield starts.pop(), token.end


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def module(request):
    return Module(request.param)


def test_names(module):
    names = module.tokens_that(
        lambda token: token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    )
    found = module.holes("identifiers")
    assert {name for name in names if name[1] not in NO_IDENTIFIERS} == {
        name for name in found if name[1] not in NO_IDENTIFIERS
    }


def test_numbers(module):
    assert module.holes("numeric_literals") == module.tokens_that(lambda token: token.type == tokenize.NUMBER)


def test_closing_brackets(module):
    assert module.holes("closing_bracket") == module.tokens_that(
        lambda token: token.string in {")", "]", "}"}
    )


def test_keywords_and_boolean_words(module):
    words = module.tokens_that(
        lambda token: keyword.iskeyword(token.string) and token.string not in {"True", "False", "None"}
    )
    found = module.holes("keywords", "boolean_operators")
    second = {
        (start + match.end(1), match[2])
        for start, text in found
        if (match := re.fullmatch(r"((?:is|not)\s+)(not|in)", text))
    }
    first = {(start, text.split()[0]) for start, text in found}
    hard = {(start, text) for start, text in first if keyword.iskeyword(text)}
    assert hard | second == words
    assert {text for _, text in first - hard} <= {*SOFT_KEYWORDS, "<", "<=", "==", "!=", ">=", ">"}


def test_operators(module):
    arithmetic = Counter(
        OPERATORS[type(node.op)]
        for node in module.of_type(ast.BinOp, ast.UnaryOp)
        if type(node.op) in OPERATORS
    )
    assert module.count("mathematical_operators") == arithmetic
    boolean = Counter(COMPARISONS[type(op)] for node in module.of_type(ast.Compare) for op in node.ops)
    for node in module.of_type(ast.BoolOp):
        boolean["and" if isinstance(node.op, ast.And) else "or"] += len(node.values) - 1
    boolean["not"] = sum(isinstance(node.op, ast.Not) for node in module.of_type(ast.UnaryOp))
    found = Counter(" ".join(text.split()) for text in module.count("boolean_operators").elements())
    assert found == +boolean


def test_assignments(module):
    found = module.count("assignment_operators")
    plain = sum(len(node.targets) for node in module.of_type(ast.Assign))
    assert found["="] == plain + sum(node.value is not None for node in module.of_type(ast.AnnAssign))
    assert found[":="] == len(module.of_type(ast.NamedExpr))
    assert found.total() - found["="] - found[":="] == len(module.of_type(ast.AugAssign))


def test_functions(module):
    called = [node.func for node in module.of_type(ast.Call)]
    names = [node.id for node in called if isinstance(node, ast.Name)]
    names += [node.attr for node in called if isinstance(node, ast.Attribute)]
    assert module.count("function_call") == Counter(names)
    defined = module.of_type(ast.FunctionDef, ast.AsyncFunctionDef)
    assert module.count("function_name") == Counter(node.name for node in defined)


def test_booleans(module):
    values = [node.value for node in module.of_type(ast.Constant, ast.MatchSingleton)]
    assert module.count("boolean_literals") == Counter(str(value) for value in values if type(value) is bool)


def _string_statements(tokens):
    """Tokens that are a whole statement, or the start of one of several strings."""
    after_code = False
    for token, following in pairwise(tokens):
        ends = following.type in {*LINE_BREAKS, tokenize.COMMENT, tokenize.STRING, tokenize.ENDMARKER}
        if token.type == tokenize.STRING and not after_code and ends:
            yield token
        elif token.type not in LINE_BREAKS - {tokenize.NEWLINE} and token.type != tokenize.COMMENT:
            after_code = token.type not in BETWEEN_STATEMENTS


def test_strings(module):
    statements = {token.start for token in _string_statements(module.tokens)}
    expected = set()
    for token in module.tokens:
        if token.type == tokenize.STRING and token.start not in statements:
            prefix, quotes, content = STRING.fullmatch(token.string).groups()
            lead = re.match(r"\s*\\?\n\s*", content)
            lead = lead.end() if lead and lead.end() < len(content) else 0
            # The grammar takes the content of r"\\" for a part of its closing quotes.
            if content.strip("\n") and not ("r" in prefix.lower() and not content.strip("\\")):
                start = module.at(token.start) + len(prefix + quotes) + lead
                expected.add((start, content[lead:]))
    expected = {hole for hole in expected if not any(a <= hole[0] < b for a, b in module.interpolated)}
    assert module.holes("string_literals") == expected


def test_line_ends(module):
    statements = {token.end for token in _string_statements(module.tokens)}
    expected = {
        token.start[0]
        for before, token in pairwise(module.tokens)
        if token.type in LINE_BREAKS
        and before.end[0] == token.start[0]
        and before.type not in {tokenize.COMMENT, *LINE_BREAKS, tokenize.INDENT, tokenize.DEDENT}
        and before.end not in statements
    }
    lines = {module.source.count("\n", 0, span.start) + 1 for span in module.spans["eol"]}
    assert lines == {line for line in expected if line <= module.source.count("\n")}
