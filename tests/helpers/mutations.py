"""Small changes of files, by a seeded generator."""

import json

from apmae.common.errors import ApmaeError

VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1,
    3,
    0.5,
    70_000,
    "",
    "x",
    "../x",
    "\ud800",
    [],
    [1],
    {},
    {"a": None},
)


def changed_json(data, generator):
    """A value somewhere replaced, or a key gone."""
    content = json.loads(data)
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = generator.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and generator.random() < 0.7:
            place = place[key]
            continue
        if generator.random() < 0.3:
            del place[key]
        else:
            place[key] = generator.choice(VALUES)
        return json.dumps(content).encode()


def changed_bytes(data, generator):
    """Cut off, a few bytes of its first part replaced, or all of it something else."""
    way = generator.randrange(3)
    if way == 0:
        return data[: generator.randrange(len(data))]
    if way == 1:
        start = generator.randrange(min(len(data), 400))
        return data[:start] + generator.randbytes(generator.randrange(1, 9)) + data[start + 8 :]
    return generator.choice((b"", b"{", b"[]", b"3", b"{}", b"\xff\xfe", b"null", b"version https://git-lfs"))


def refusals(path, trials, generator, load):
    """Change a file again and again; how often `load` refused it, each time in a line."""
    whole = path.read_bytes()
    refused = 0
    for number in range(trials):
        by_value = path.suffix == ".json" and number % 2 == 0
        path.write_bytes((changed_json if by_value else changed_bytes)(whole, generator))
        try:
            load()
        except ApmaeError as error:
            refused += 1
            assert "\n" not in str(error)
            assert len(str(error)) - len(str(path.parent)) <= 300, error
    return refused
