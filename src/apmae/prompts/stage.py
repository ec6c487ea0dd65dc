"""The prompts stage: mine prompts from source files and record what the target made of them.

1. Files are read in the corpus's seeded order, in rounds. The corpus's hygiene drops some, which are counted.
   Every quota that still lacks prompts gets a file's candidates for it.
2. Candidates *as they come*, the first of every file by their random keys, are run through the target in
   batches. They alone give the base rate.
3. One outcome may be rare. Once a task has tried as many candidates as it needs prompts, and running on would
   cost more passes, a *survey* sees the candidates of all files read (`apmae.prompts.survey`). It proposes
   candidates of the missing outcome, and the target runs on each by its exact prompt. Where the exact outcome
   differs, the candidate counts as that, and the draw is repeated.
4. Mining ends when every task has its halves, when the corpus ends, or after `prompts.max_candidates`. Each
   half is then the candidates of its outcome with the smallest keys: a uniform draw over all files that were
   read for the task.

Which prompts run, and in which batches, depends on earlier outcomes. A journal keeps these, so a killed stage
asks the same again and runs the target only on what is new. Tasks and
balance: paper section 5.1; encoder prompts: section 4, "Data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from apmae.autoencoder.pretrained import check_pretrained
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.corpus import Corpus, SkippedFile, SourceFile
from apmae.corpus.hygiene import Hygiene
from apmae.pipeline import Context
from apmae.prompts import PromptFormatter
from apmae.prompts.candidates import (
    ENCODER,
    SHORT_TOKENS,
    STUDY,
    Candidate,
    CandidateMaker,
    FileCandidates,
    Quota,
)
from apmae.prompts.collection import Collection, collections_of, matched
from apmae.prompts.journal import Answers, TargetAnswers
from apmae.prompts.survey import Survey
from apmae.study.artifacts import PROMPTS, TASKS
from apmae.study.config import StudyConfig
from apmae.vocabulary import PromptFormat

ROUND_PROMPTS = 128
ROUND_FILES = 64
FEWEST_TRIES = 16
WINDOW_PROMPTS = 4
"""Length of a window, in prompts; at least half of that where the target cannot read so much."""
FILES_LOOKED_AT = 5_000
"""Files that are read for groups of both splits before mining begins; a few are enough in most corpora."""
RUNS_PER_FIND = 2
"""Proposals of a survey that are expected to be run for one that has the scarce outcome."""


def run(context: Context) -> dict[str, object]:
    """Write `prompts.parquet` and `tasks.parquet`; returns counts for the stage's marker.

    Raises:
        ApmaeError: no prompt at all could be made, the corpus has groups of one split alone, or
            `encoder.pretrained` does not read such prompts.
    """
    study, corpus, target = context.study, context.corpus, context.target
    config = study.config
    check_pretrained(config)  # before hours are spent on prompts that it cannot encode
    require_both_splits(corpus, config)
    formatter = PromptFormatter(
        target.tokenizer, config.prompts.format, config.prompts.length_tokens, config.prompts.outcome
    )
    answers = TargetAnswers(target, study.work_directory("prompts", context.key))
    miner = Miner(config, formatter, answers, target.max_tokens)
    for _ in context.progress(miner.collect(corpus), "prompts", miner.total, status=miner.status):
        pass
    files_skipped, holes_skipped = (
        dict(miner.files_skipped.most_common()),
        dict(miner.holes_skipped.most_common()),
    )
    if not miner.passes:
        raise ApmaeError(
            f"no prompt could be made from {corpus.description}: "
            f"files skipped {files_skipped}, holes skipped {holes_skipped}; "
            "lower prompts.length_tokens or name another corpus"
        )
    prompts = prompt_table(miner.collections, config)
    tasks = task_table(miner.collections)
    study.write(TASKS, tasks)
    study.write(PROMPTS, prompts)
    return {
        "corpus": corpus.description,
        "format": formatter.format,
        "files_read": miner.files_read,
        "files_skipped": files_skipped,
        "holes_skipped": holes_skipped,
        "prompts_evaluated": miner.passes,
        "survey_passes": round(miner.survey.passes, 1),
        "prompts_kept": prompts.height,
        "ties": ties(prompts),
        "notes": [
            *format_notes(config.prompts.format, formatter),
            *skip_notes("files", files_skipped),
            *skip_notes("holes", holes_skipped),
            *survey_notes(miner),
            *tie_notes(ties(prompts)),
            *shortfall_notes(miner.collections),
            *pairing_notes(tasks),
        ],
    }


def require_both_splits(corpus: Corpus, config: StudyConfig) -> None:
    """Refuse a corpus whose groups all fall into one split, before anything runs.

    Raises:
        ApmaeError: the first `FILES_LOOKED_AT` files are of one group, or all files are of one split.
    """
    groups: set[str] = set()
    splits: set[str] = set()
    for position, file in corpus.files():
        if position == FILES_LOOKED_AT:
            if len(groups) > 1:
                return
            break
        if isinstance(file, SourceFile) and file.group not in groups:
            groups.add(file.group)
            splits.add(split_of(file.group, config))
            if {"train", "test"} <= splits:
                return
    if groups:
        raise ApmaeError(
            f"the groups (packages or projects) of {corpus.description}, {len(groups):,} in number, are all "
            "of one split, and training and measuring need different ones: name a corpus with more groups"
            + (", or another seed" if len(groups) > 1 else "")
        )


def format_notes(requested: PromptFormat, formatter: PromptFormatter) -> list[str]:
    """A line where sentinels alone decided for fill-in-the-middle prompts: not every model knows its own."""
    if requested != "auto" or formatter.format != "fim":
        return []
    return [
        "fill-in-the-middle prompts, since the tokenizer has the sentinels; if the model was not trained on "
        "them, set prompts.format: causal"
    ]


def prompt_table(collections: Iterable[Collection], config: StudyConfig) -> pl.DataFrame:
    """The prompts that are kept, numbered as drawn: by task in the config's order, then encoder prompts."""
    in_order = sorted(collections, key=lambda collection: collection.quota.purpose == ENCODER)
    drawn = [candidate for collection in in_order for candidate in collection.draw()]
    rows = [
        {
            "prompt_id": number,
            "purpose": candidate.quota.purpose,
            "task": candidate.quota.task,
            "file": candidate.file,
            "line": candidate.line,
            "group": candidate.group,
            "split": split_of(candidate.group, config),
            "text": candidate.text,
            "input_ids": candidate.input_ids,
            "next_token_id": next(iter(candidate.true_ids), None),
            "true_ids": list(candidate.true_ids) or None,
            "searched": candidate.searched,
            **(candidate.outcome or {}),
        }
        for number, candidate in enumerate(drawn)
    ]
    return PROMPTS.of_rows(rows)


def task_table(collections: Iterable[Collection]) -> pl.DataFrame:
    """What the target did on every task, `TASKS`, in the config's order."""
    rows = []
    for collection in collections:
        if collection.quota.purpose == STUDY:
            right, wrong, unknown = (collection.evaluated[outcome] for outcome in (True, False, None))
            rate = right / (right + wrong) if right + wrong else float("nan")
            drawn = collection.draw()
            kept = Counter(candidate.correct for candidate in drawn)
            counts = (
                right + wrong + unknown,
                right,
                rate,
                collection.searched.total(),
                kept[True],
                kept[False],
                matched(drawn),
            )
            rows.append((collection.quota.task, *counts))
    return pl.DataFrame(rows, schema=list(TASKS.schema), orient="row")


def skip_notes(what: str, skipped: Mapping[str, int]) -> list[str]:
    """What was skipped and why, in a line of words; none where nothing was."""
    if not skipped:
        return []
    return [f"{what} skipped: " + ", ".join(f"{count} {reason}" for reason, count in skipped.items())]


def survey_notes(miner: Miner) -> list[str]:
    """What the survey cost, found and missed, in words; none where there was none."""
    if not miner.survey.passes:
        return []
    said = [f"survey: its runs were as long as {miner.survey.passes:.0f} prompts"]
    for collection in miner.collections:
        if collection.scarce is not None:
            task, found, (missed, known) = collection.quota.task, collection.searched, collection.missed
            said.append(
                f"survey: {task}: {found[True]} of {found.total()} proposals were as expected; of {known} "
                f"prompts that came with the scarce outcome it would not have proposed {missed}"
            )
    return said


def ties(prompts: pl.DataFrame) -> int:
    """Kept prompts for which two tokens are the most probable ones, so that the outcome is arbitrary."""
    return prompts.filter(pl.col("margin") == 0).height


def tie_notes(count: int) -> list[str]:
    """How many outcomes are arbitrary, in words; none where none is."""
    return [f"two tokens tie for the most probable one in {count} of the prompts kept"] if count else []


def shortfall_notes(collections: Iterable[Collection]) -> list[str]:
    """Which tasks have fewer prompts than asked for, and why, in words."""
    said = []
    for collection in collections:
        kept = Counter(candidate.correct for candidate in collection.draw())
        if None not in collection.wanted and kept.total() < collection.total:
            half = collection.wanted[True]
            said.append(
                f"{collection.quota.task}: goes on with {kept[True]} correct and {kept[False]} incorrect "
                f"prompts of {half} each ({collection.exhausted})"
            )
    return said


def pairing_notes(tasks: pl.DataFrame) -> list[str]:
    """Of which tasks some prompts have no partner, in words.

    Args:
        tasks: `TASKS`.
    """
    kept = pl.col("kept_correct") + pl.col("kept_incorrect")
    unpaired = tasks.filter(pl.col("task") != "noise", pl.col("kept_matched") < kept)
    return [
        f"{task}: {matched} of {count} prompts have a partner of the other outcome in their package"
        for task, matched, count in unpaired.select("task", "kept_matched", kept).iter_rows()
    ]


def split_of(group: str, config: StudyConfig) -> str:
    """Which split a group falls into; the same in every run, whatever else is in the corpus."""
    draw = derive_seed(config.seed, "split", group) / 2**32
    if draw < config.prompts.test_fraction:
        return "test"
    return "development" if draw >= 1 - config.prompts.development_fraction else "train"


class Miner:
    """Makes candidates from files, runs the target on them, and counts.

    What it holds grows with the candidates, a few hundred bytes each, and with the fingerprints of files.

    Attributes:
        collections: what is collected, encoder prompts first, then the tasks in the config's order.
        files_read: files read, skipped ones too.
        files_skipped: files that gave no prompt, by reason.
        holes_skipped: holes that gave none, by reason.
        passes: prompts that the target ran on.
        survey: what was seen of candidates without running them.
        total: prompts to keep.
    """

    def __init__(
        self, config: StudyConfig, formatter: PromptFormatter, answers: Answers, max_tokens: float
    ) -> None:
        """Begin a study's collections.

        Args:
            max_tokens: the longest sequence that the target reads.
        """
        prompts = config.prompts
        length = prompts.length_tokens
        window_tokens = int(min(WINDOW_PROMPTS * length, max_tokens))
        if formatter.format == "causal":
            self._can_survey = window_tokens >= WINDOW_PROMPTS * length / 2
        else:
            self._can_survey = length >= 4 * SHORT_TOKENS
        self._format = formatter.format
        self.config = config
        self.files_read = 0
        self.files_skipped: Counter[str] = Counter()
        self.holes_skipped: Counter[str] = Counter()
        self.passes = 0
        self.survey = Survey(answers, length, config.target.batch_size)
        self._open: list[Collection] = []
        self._by_quota = collections_of(config)
        self.collections = list(self._by_quota.values())
        self.total = sum(collection.total for collection in self.collections)
        self._answers = answers
        self._maker = CandidateMaker(
            formatter,
            config.corpus.language,
            config.seed,
            prompts.per_file,
            window_tokens if self._can_survey else None,
        )
        self._hygiene = Hygiene(config.corpus, config.seed)

    def collect(self, corpus: Corpus) -> Iterator[None]:
        """Read and run until nothing is lacking or the corpus ends; yields once per prompt found."""
        source = self._hygiene.sift(file for _, file in corpus.files())
        noise = self._by_quota.get(Quota(STUDY, "noise"))
        if noise is not None:
            noise.candidates = [self._maker.noise(number) for number in range(noise.wanted[None])]
            yield from self._run(noise, noise.candidates)
        while open_ones := [collection for collection in self.collections if self._is_open(collection)]:
            self._open = open_ones
            came, ended = self._read_round(source, open_ones)
            for collection in open_ones:
                yield from self._run(collection, came[collection.quota])
            yield from self._search(open_ones, ended=ended)
            if ended:
                for collection in open_ones:
                    collection.exhausted = collection.exhausted or "the corpus has no more"

    def status(self) -> str:
        """How far the corpus is read, and which tasks still lack prompts or partners of theirs."""
        lacking = sorted({each.quota.task for each in self.collections if any(each.lacking.values())})
        pairing = sorted({each.quota.task for each in self._open} - set(lacking))
        tasks = {"lacking": lacking, "pairing": pairing}
        said = [f"{what} {', '.join(names)}" for what, names in tasks.items() if names]
        return ", ".join([f"file {self.files_read}", *said])

    def _is_open(self, collection: Collection) -> bool:
        if collection.exhausted is None and self._has_tried_enough(collection):
            collection.exhausted = f"{collection.tried} candidates were tried, see prompts.max_candidates"
        return collection.exhausted is None and not collection.is_full

    def _has_tried_enough(self, collection: Collection) -> bool:
        return None not in collection.wanted and collection.tried >= self.config.prompts.max_candidates

    def _read_round(
        self, source: Iterator[SourceFile | SkippedFile], collections: Sequence[Collection]
    ) -> tuple[dict[Quota, list[Candidate]], bool]:
        """Read files until there is enough to run.

        Returns:
            The candidates that are taken as they come, by quota, and whether the corpus ended.
        """
        limits = {each.quota: self._tries(each) if each.scarce is None else 0 for each in collections}
        came: dict[Quota, list[Candidate]] = {each.quota: [] for each in collections}
        searching = [each.quota for each in collections if each.scarce is not None]
        read = 0
        for file in source:
            read += 1
            if made := self._candidates(file, came):
                for quota, candidates in made.by_quota.items():
                    self._by_quota[quota].candidates += candidates
                    room = min(limits[quota] - len(came[quota]), self.config.prompts.per_file)
                    came[quota] += candidates[: max(0, room)]
                if self._can_survey:
                    self.survey.add(made)
            spent = any(0 < limit <= len(came[quota]) for quota, limit in limits.items())
            to_run = sum(map(len, came.values())) + (self.survey.pending(searching) if searching else 0)
            if spent or to_run >= ROUND_PROMPTS or read >= ROUND_FILES:
                break
        self.files_read += read
        return came, read == 0

    def _tries(self, collection: Collection) -> int:
        """Candidates worth running before looking again; a quota that has had them ends the round.

        As many as shall be kept, then twice what the scarcer outcome lacks, or as many as lack a partner,
        and a few at least.
        """
        first = collection.total - collection.evaluated.total()
        if None in collection.wanted:
            return first
        lacking = 2 * max(collection.lacking.values()) or collection.total - matched(collection.draw())
        again = max(lacking, FEWEST_TRIES)
        left = self.config.prompts.max_candidates - collection.tried
        return min(first if first > 0 else again, left)

    def _candidates(self, file: SourceFile | SkippedFile, quotas: Iterable[Quota]) -> FileCandidates | None:
        if isinstance(file, SkippedFile):
            self.files_skipped[file.reason] += 1
            return None
        made = self._maker.of_file(file, quotas)
        self.holes_skipped.update(made.skipped)
        return made

    def _run(self, collection: Collection, candidates: Sequence[Candidate]) -> Iterator[None]:
        """Run the target on candidates in batches, and take down the outcomes; yields per prompt found."""
        size = self.config.target.batch_size
        for start in range(0, len(candidates), size):
            batch = candidates[start : start + size]
            found = collection.found
            for candidate, outcome in zip(batch, self._answers.outcomes(batch), strict=True):
                collection.record(candidate, outcome)
            self.passes += len(batch)
            yield from (None for _ in range(collection.found - found))

    def _search(self, collections: Sequence[Collection], *, ended: bool) -> Iterator[None]:
        """Survey what was read where that is worth it, draw by what was seen, and run what was drawn."""
        for collection in collections:
            if collection.scarce is None:
                collection.scarce = self._worth_searching(collection)
        searching = [collection for collection in collections if collection.scarce is not None]
        if searching:
            self.survey.run(collection.quota for collection in searching)
        for collection in searching:
            last = ended or self._has_tried_enough(collection)
            while True:
                drawn = collection.draw(believing=True)
                unknown = [candidate for candidate in drawn if candidate.outcome is None]
                full = len(drawn) == collection.total
                if not unknown or not (full or last):
                    break
                for candidate in unknown:
                    candidate.searched = True
                yield from self._run(collection, unknown)

    def _worth_searching(self, collection: Collection) -> bool | None:
        """The scarce outcome, if a survey finds what lacks of it in fewer passes than running on takes."""
        evaluated = collection.evaluated.total()
        if None in collection.wanted or not self._can_survey or evaluated < collection.total:
            return None
        scarce, lacking = max(collection.lacking.items(), key=lambda each: each[1])
        candidates = lacking * (evaluated + 1) / (collection.evaluated[scarce] + 0.5)
        survey = self.survey.pending([collection.quota])
        if self._format == "fim":
            if scarce:  # a short prompt is sure to be incorrect of most that the whole prompt gets correct
                return None
            survey += candidates * SHORT_TOKENS / self.config.prompts.length_tokens
        return scarce if candidates > survey + RUNS_PER_FIND * lacking else None
