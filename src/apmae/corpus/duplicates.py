"""Exact and near duplicates among the files of a corpus, found while it streams.

1. A file's shingles are the runs of five tokens in its code. The header is left out, since a shared licence
   makes short files look alike. String contents are left out too, since a table of messages is the same
   program in every language.
2. MinHash (datasketch) turns the shingles into a signature. The fraction of equal entries of two signatures
   estimates the Jaccard similarity of their shingles.
3. Locality-sensitive hashing finds earlier files with a similar signature. If one of them is similar enough,
   the file is a near duplicate.

The first of several duplicates in the corpus's order stays. MinHash: Broder 1997. Five tokens and a
similarity of 0.85 follow The Stack (Kocetkov et al. 2022). An estimate from 128 entries has a standard
deviation of 0.03 at 0.85. Twice the entries would have 0.02, for twice the time and memory. The index takes
about 5.5 kB per kept file, see docs/corpus.md.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from zlib import crc32

import numpy as np
from datasketch import LeanMinHash, MinHash, MinHashLSH

from apmae.common.checksum import new_checksum

PERMUTATIONS = 128
SHINGLE_TOKENS = 5
CANDIDATE_RECALL = 0.95
SCHEME: Literal["affine32"] = "affine32"
STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*+\"?|'(?:[^'\\\n]|\\.)*+'?")
"""A string, to the end of its line where nothing closes it: looking for what is not there takes too long."""
TOKEN = re.compile(r"\w+|[^\w\s]")

DuplicateReason = Literal["duplicate", "near duplicate"]


class Fingerprint(NamedTuple):
    """Digest and signature of a file, for finding its duplicates."""

    digest: bytes
    """Of the whole text with normalised line ends; 16 bytes."""
    signature: bytes
    """MinHash of the code's shingles: 128 little-endian uint32."""


def fingerprint(text: str, code: str, seed: int) -> Fingerprint:
    """Digest and MinHash signature of a file.

    Args:
        text: the whole file.
        code: the part compared for similarity.
        seed: 32 bits; draws the MinHash's permutations.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    minhash = MinHash(PERMUTATIONS, seed=seed, hashfunc=crc32, scheme=SCHEME)
    minhash.update_batch(shingles(code))
    signature = minhash.hashvalues.astype("<u4").tobytes()
    return Fingerprint(new_checksum(lines.encode()).digest(), signature)


def shingles(code: str) -> set[bytes]:
    """Every run of five tokens, with strings emptied. Shorter code is one shingle."""
    tokens = TOKEN.findall(STRING.sub('""', code))
    starts = range(max(1, len(tokens) - SHINGLE_TOKENS + 1))
    return {" ".join(tokens[start : start + SHINGLE_TOKENS]).encode() for start in starts}


def bands(similarity: float) -> tuple[int, int]:
    """Number and size of the bands of a signature. Files that share a band are compared.

    The fewest bands such that at least 95% of the pairs with exactly this similarity share one.
    """
    rows = max(
        rows
        for rows in range(1, PERMUTATIONS // 2 + 1)
        if 1 - (1 - similarity**rows) ** (PERMUTATIONS // rows) >= CANDIDATE_RECALL
    )
    return PERMUTATIONS // rows, rows


class DuplicateIndex:
    """Fingerprints of the kept files."""

    def __init__(self, similarity: float, seed: int) -> None:
        self.similarity = similarity
        self.seed = seed
        self._digests: set[bytes] = set()
        self._signatures: list[bytes] = []
        self._alike = MinHashLSH(num_perm=PERMUTATIONS, params=bands(similarity))

    def find(self, file: Fingerprint) -> DuplicateReason | None:
        """Whether the file duplicates an added one, and how; None if it does not."""
        if file.digest in self._digests:
            return "duplicate"
        minhash = self._minhash(file.signature)
        alike = (self._minhash(self._signatures[key]) for key in self._alike.query(minhash))
        if any(minhash.jaccard(other) >= self.similarity for other in alike):
            return "near duplicate"
        return None

    def add(self, file: Fingerprint) -> None:
        """Remember a kept file."""
        self._digests.add(file.digest)
        self._alike.insert(len(self._signatures), self._minhash(file.signature), check_duplication=False)
        self._signatures.append(file.signature)

    def _minhash(self, signature: bytes) -> LeanMinHash:
        return LeanMinHash(seed=self.seed, hashvalues=np.frombuffer(signature, "<u4"), scheme=SCHEME)
