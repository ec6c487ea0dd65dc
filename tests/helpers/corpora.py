"""Generated Java."""

import random

WORDS = ("count", "total", "name", "index", "value", "size", "label", "offset", "limit", "buffer")
METHOD = """\
    /** Returns the {a} of {b}. */
    public int {a}Of(int {b}, String {c}) {{
        int {a} = {n} + {b} * {m};
        if ({a} > {n} && {c} != null || {b} == {m}) {{
            {a} += {b} - {n};
            System.out.println("{c} is {a}: " + {a});
        }}
        boolean {d} = {flag};
        return {d} ? {a} : {b};
    }}
"""


def written_files(packages=8, files=5, methods=6):
    """Java files in packages, all different: (name, text)."""
    draw = random.Random(0)
    for package in range(packages):
        for number in range(files):
            body = "".join(_method(draw) for _ in range(methods))
            yield f"p{package}/C{number}.java", f"package p{package};\n\nclass C{number} {{\n{body}}}\n"


def write_corpus(directory, **sizes):
    """The same on disk."""
    for name, text in written_files(**sizes):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


def _method(draw):
    a, b, c, d = draw.sample(WORDS, 4)
    flag = draw.choice(("true", "false"))
    return METHOD.format(a=a, b=b, c=c, d=d, n=draw.randint(0, 99), m=draw.randint(2, 9), flag=flag)
