"""Small changes of files, by a seeded generator."""

import json

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
