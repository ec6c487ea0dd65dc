"""Which files of a corpus are worth mining: written by people, with code, without duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from apmae.common.seeding import derive_seed
from apmae.corpus.content_checks import header, is_generated, is_minified
from apmae.corpus.duplicates import DuplicateIndex, Fingerprint, fingerprint
from apmae.corpus.files import SkippedFile, SkipReason, SourceFile
from apmae.languages import language_named
from apmae.study.config import CorpusConfig


class Hygiene:
    """Judges a corpus's files in their order.

    A judgement depends only on the file and the files kept before it. To resume an earlier run, pass its
    fingerprints to `keep`.
    """

    def __init__(self, config: CorpusConfig, seed: int) -> None:
        self.config = config
        self.seed = derive_seed(seed, "corpus", "duplicates")
        self.kept = DuplicateIndex(config.near_duplicate_similarity, self.seed)

    def judge(self, file: SourceFile) -> Fingerprint | SkipReason:
        """The fingerprint of a file to keep, or the first reason to drop it."""
        head = header(file.text, language_named(self.config.language).comments)
        code = file.text[len(head) :]
        if reason := self._unfit(file.text, head, code):
            return reason
        found = fingerprint(file.text, code, self.seed)
        return self.kept.find(found) or found

    def keep(self, file: Fingerprint) -> None:
        """Remember a file, so that later copies of it are duplicates."""
        self.kept.add(file)

    def sift(self, files: Iterable[SourceFile | SkippedFile]) -> Iterator[SourceFile | SkippedFile]:
        """Yield every file in turn, kept if it is fit and otherwise as skipped."""
        for file in files:
            judged = file.reason if isinstance(file, SkippedFile) else self.judge(file)
            if isinstance(judged, Fingerprint):
                self.keep(judged)
                yield file
            else:
                yield SkippedFile(file.path, judged)

    def _unfit(self, text: str, head: str, code: str) -> SkipReason | None:
        drop = self.config.drop
        if "no code" in drop and not code:
            return "no code"
        if "generated" in drop and is_generated(head, code):
            return "generated"
        return "minified" if "minified" in drop and is_minified(text) else None
