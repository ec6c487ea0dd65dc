"""What the hygiene of a corpus drops, what it costs, and how large its index of duplicates is.

python benchmarks/corpus.py [--source jdk] [--path PATH] [--language java] [--seed 0]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections import Counter

from apmae.corpus import Corpus, SkippedFile, open_corpus
from apmae.corpus.duplicates import Fingerprint
from apmae.corpus.hygiene import Hygiene
from apmae.study.config import CorpusConfig


def main() -> None:
    """Measure and print Markdown tables."""
    arguments = _arguments()
    settings = {name: getattr(arguments, name) for name in ("source", "path", "language")}
    config = CorpusConfig.model_validate(settings)
    corpus = open_corpus(config, arguments.seed)
    reasons, kept, seconds = judge_all(corpus, Hygiene(config, arguments.seed))
    files = sum(reasons.values()) + len(kept)
    print(f"{corpus.description}; {seconds / files * 1e3:.1f} ms of one core a file, reading included;")
    print(f"{index_bytes(kept, Hygiene(config, arguments.seed)):,.0f} bytes of index per kept file\n")
    print("| | files | share |\n|---|---|---|")
    for reason, count in [("kept", len(kept)), *reasons.most_common()]:
        print(f"| {reason} | {count:,} | {count / files:.1%} |")


def judge_all(corpus: Corpus, hygiene: Hygiene) -> tuple[Counter[str], list[Fingerprint], float]:
    """Counts by reason, the fingerprints of the files that are kept, and processor seconds."""
    reasons: Counter[str] = Counter()
    kept = []
    started = time.process_time()
    for _, file in corpus.files():
        judged = file.reason if isinstance(file, SkippedFile) else hygiene.judge(file)
        if isinstance(judged, Fingerprint):
            hygiene.keep(judged)
            kept.append(judged)
        else:
            reasons[judged] += 1
    return reasons, kept, time.process_time() - started


def index_bytes(kept: list[Fingerprint], hygiene: Hygiene) -> float:
    """Bytes per file of an index that holds the fingerprints, theirs included."""
    tracemalloc.start()
    for digest, signature in kept:  # copied, so that they are counted too
        hygiene.keep(Fingerprint(bytes(bytearray(digest)), bytes(bytearray(signature))))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(kept)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", default="jdk")
    parser.add_argument("--path")
    parser.add_argument("--language", default="java")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
