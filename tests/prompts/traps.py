#!/usr/bin/env python  # a + b == 1
"""Docstring: a and b, x = 1.

Second paragraph."""
from __future__ import annotations
import os.path as p, sys  # trailing

LIMIT: int = 0x1F_FF
name = "é漢😀"   
both = 'it\'s' "a \"+\" b" r"\d+" "", b"bytes"
flag = not True or LIMIT <= 1.0 and name is not None != False
found = name in both, name not in both, LIMIT is 3j
total = -1 - +2 * 3 / 4 // 5 % 6 ** ~7 @ p << 8 | 9
total += 1; total -= 2; total //= 3; total **= 4; total @= 5; total >>= 6; total |= 7

@p.wraps(LIMIT)
async def run(self, first=1, *args: int, key: str = "k", **kwargs) -> dict[str, list[int]]:
    """One line."""
    if (n := len(args)) > 10: return {**kwargs}
    text = f"{n + 1:>{LIMIT}} - {n!r} {{ = }}" f'plain'
    query = """
        select a - b
        from t  -- no comment
    """
    long = first + \
        n
    for i in range(n): print(i, end="")
    await self.go(lambda x: x and i)(1)[2].stop()
    "a string that comments"
    match n:
        case -1 | [_, 2]: pass
        case _: raise ValueError("no") from None
    return {k: v for k, v in kwargs.items() if v}

class Point(object, metaclass=abc):
    match = type = 3
    def method(self): global LIMIT; del LIMIT; yield self.method

print(
    1,  # one
    2
)
