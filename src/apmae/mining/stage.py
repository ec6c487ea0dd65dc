"""The prompts stage: mine prompts from source files and record what the target made of them.

1. Files are read in the corpus's seeded order, in rounds; those that the corpus's hygiene drops are
   counted. A round ends when it has candidates for a few batches, or has tried what a task that lacks
   few prompts is worth, or has read enough files.
2. From each file, every quota that still lacks prompts gets a few holes at seeded random places.
3. The target runs on the round's candidates in batches.
4. When every task has its half right and half wrong, or the corpus ends, the balanced prompts are
   kept; the rate of right ones among all candidates is the natural rate.

A round is the unit that survives a kill: what it does depends only on the rounds before it, which
lie in the work directory. Tasks and balance: paper section 5.1; encoder prompts: section 4, "Data".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from apmae.artifacts import PROMPTS, PROMPTS_SCHEMA, TASKS, TASKS_SCHEMA
from apmae.atomic import write_parquet
from apmae.config import StudyConfig
from apmae.corpus import Corpus, SkippedFile, SourceFile
from apmae.corpus.duplicates import Fingerprint
from apmae.corpus.hygiene import Hygiene
from apmae.errors import ApmaeError
from apmae.progress import Tracker
from apmae.seeding import derive_seed, numpy_generator
from apmae.study import Study
from apmae.target import Target, outcomes
from apmae.tasks import Document, Prompt, PromptFormatter, Skip, Span, find_spans, random_spans

ROUND_BATCHES = 8
ROUND_FILES = 64

STUDY = "study"
ENCODER = "encoder"

EVALUATED_SCHEMA = pl.Schema({name: dtype for name, dtype in PROMPTS_SCHEMA.items() if name != "prompt_id"})
FILES_SCHEMA = pl.Schema(
    {
        "digest": pl.Binary(),  # of a file that was kept, with `signature` its fingerprint
        "signature": pl.Binary(),
        "skipped": pl.String(),  # why the file gave no prompt; null otherwise
        "holes_skipped": pl.List(pl.String()),  # why holes of it gave none, one entry a hole
    }
)


class Quota(NamedTuple):
    """What is collected: prompts of one task for one purpose."""

    purpose: str
    task: str


class Wanted(NamedTuple):
    """What is counted: prompts of a quota with one outcome, or with any (None)."""

    quota: Quota
    correct: bool | None


class Candidate(NamedTuple):
    """A prompt that the target has not run on yet."""

    quota: Quota
    file: str
    line: int | None
    group: str
    text: str | None
    prompt: Prompt


def run(study: Study, key: str, track: Tracker, target: Target, corpus: Corpus) -> dict[str, object]:
    """Mine the study's prompts; returns counts for the stage's marker.

    Raises:
        ApmaeError: no prompt at all could be made.
    """
    config = study.config
    miner = Miner(config, target)
    work = study.work_directory("prompts", key)
    for _ in track(miner.collect(corpus, work), "prompts", miner.total, status=miner.status):
        pass
    files_skipped, holes_skipped = _most_common(miner.files_skipped), _most_common(miner.holes_skipped)
    if not miner.evaluated.total():
        raise ApmaeError(
            f"no prompt could be made from {corpus.description}: "
            f"files skipped {files_skipped}, holes skipped {holes_skipped}; "
            "lower prompts.length_tokens or name another corpus"
        )
    prompts = numbered(miner.kept, config)
    tasks = task_table(miner.evaluated, prompts, config)
    study.write_table(TASKS, tasks, TASKS_SCHEMA)
    study.write_table(PROMPTS, prompts, PROMPTS_SCHEMA)
    return {
        "corpus": corpus.description,
        "format": miner.formatter.format,
        "files_read": miner.files_read,
        "files_skipped": files_skipped,
        "holes_skipped": holes_skipped,
        "prompts_evaluated": miner.evaluated.total(),
        "prompts_kept": prompts.height,
        "notes": [
            *skip_notes("files", files_skipped),
            *skip_notes("holes", holes_skipped),
            *shortfall_notes(tasks, config),
        ],
    }


def numbered(kept: pl.DataFrame, config: StudyConfig) -> pl.DataFrame:
    """Number the prompts that are kept: by task in the config's order, as they came; encoder prompts last."""
    order = {task: index for index, task in enumerate(config.prompts.tasks)}
    by_task = pl.col("task").replace_strict(order, default=len(order))
    ordered = kept.sort(pl.col("purpose") == ENCODER, by_task, maintain_order=True)
    return ordered.with_row_index("prompt_id")


def task_table(evaluated: Counter[Wanted], prompts: pl.DataFrame, config: StudyConfig) -> pl.DataFrame:
    """What the target did on every task, `TASKS_SCHEMA`, in the config's order."""
    rows = []
    for task in config.prompts.tasks:
        quota = Quota(STUDY, task)
        right, wrong, unknown = (evaluated[Wanted(quota, correct)] for correct in (True, False, None))
        rate = right / (right + wrong) if right + wrong else float("nan")
        kept = prompts.filter((pl.col("task") == task) & (pl.col("purpose") == STUDY))["correct"]
        rows.append((task, right + wrong + unknown, right, rate, kept.sum(), (~kept).sum()))
    return pl.DataFrame(rows, schema=list(TASKS_SCHEMA), orient="row")


def skip_notes(what: str, skipped: Mapping[str, int]) -> list[str]:
    """What was skipped and why, in a line of words; none where nothing was."""
    if not skipped:
        return []
    return [f"{what} skipped: " + ", ".join(f"{count} {reason}" for reason, count in skipped.items())]


def shortfall_notes(tasks: pl.DataFrame, config: StudyConfig) -> list[str]:
    """Which tasks have fewer prompts than asked for, in words."""
    half = config.prompts.per_task // 2
    said = []
    for row in tasks.filter(pl.col("task") != "noise").iter_rows(named=True):
        right, wrong = row["kept_correct"], row["kept_wrong"]
        if min(right, wrong) < half:
            said.append(f"{row['task']}: goes on with {right} right and {wrong} wrong prompts of {half} each")
    return said


def split_of(group: str, config: StudyConfig) -> str:
    """Which split a group falls into; the same in every run, whatever else is in the corpus."""
    draw = derive_seed(config.seed, "split", group) / 2**32
    return "test" if draw < config.prompts.test_fraction else "train"


class Miner:
    """Makes candidates from files, runs the target on them, and counts.

    What it holds grows with the prompts that are kept and with the fingerprints of the files that are;
    all else is counted.

    Attributes:
        kept: the prompts that were lacking when they came, in order (`EVALUATED_SCHEMA`).
        evaluated: candidates that the target ran on, by quota and outcome.
        files_read: files read, skipped ones too.
        files_skipped: files that gave no prompt, by reason.
        holes_skipped: holes that gave none, by reason.
        total: prompts to keep.
    """

    def __init__(self, config: StudyConfig, target: Target) -> None:
        prompts = config.prompts
        self.config = config
        self.target = target
        self.formatter = PromptFormatter(target.tokenizer, prompts.format, prompts.length_tokens)
        self.kept = pl.DataFrame(schema=EVALUATED_SCHEMA)
        self.evaluated: Counter[Wanted] = Counter()
        self.files_read = 0
        self.files_skipped: Counter[str] = Counter()
        self.holes_skipped: Counter[str] = Counter()
        self._hygiene = Hygiene(config.corpus, config.seed)
        self._lacking = _quotas(config)
        self.total = sum(self._lacking.values())

    def collect(self, corpus: Corpus, work: Path) -> Iterator[None]:
        """Run rounds until nothing is lacking or the corpus ends; yields once per prompt to keep.

        Args:
            work: finished rounds are taken from here, and new ones added.
        """
        number = 0
        while (work / f"files-{number:05d}.parquet").exists():
            evaluated = pl.read_parquet(work / f"evaluated-{number:05d}.parquet")
            files = pl.read_parquet(work / f"files-{number:05d}.parquet")
            for fingerprint in files.select("digest", "signature").drop_nulls().iter_rows():
                self._hygiene.keep(Fingerprint(*fingerprint))
            yield from self._add(evaluated, files)
            number += 1
        source = iter(corpus.files(self.files_read))
        while any(self._lacking.values()):
            evaluated, files = self._round(source, first=number == 0)
            if files.is_empty():
                return
            write_parquet(work / f"evaluated-{number:05d}.parquet", evaluated)
            write_parquet(work / f"files-{number:05d}.parquet", files)
            yield from self._add(evaluated, files)
            number += 1

    def status(self) -> str:
        """How far the corpus is read, and which tasks still lack prompts."""
        lacking = sorted({wanted.quota.task for wanted, count in self._lacking.items() if count})
        return f"file {self.files_read}" + (f", lacking {', '.join(lacking)}" if lacking else "")

    def _add(self, evaluated: pl.DataFrame, files: pl.DataFrame) -> Iterator[None]:
        self.files_read += files.height
        self.files_skipped.update(files["skipped"].drop_nulls())
        self.holes_skipped.update(files["holes_skipped"].explode().drop_nulls())
        keep = [self._take(*row) for row in evaluated.select("purpose", "task", "correct").iter_rows()]
        self.kept.extend(evaluated.filter(keep))
        yield from (None for kept in keep if kept)

    def _take(self, purpose: str, task: str, correct: bool | None) -> bool:
        """Count an evaluated candidate; whether it was lacking."""
        wanted = Wanted(Quota(purpose, task), None if purpose == ENCODER else correct)
        self.evaluated[wanted] += 1
        lacking = self._lacking[wanted] > 0
        self._lacking[wanted] -= lacking
        return lacking

    def _round(
        self, source: Iterator[tuple[int, SourceFile | SkippedFile]], *, first: bool
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Read files until there is enough for a few batches; outcomes of their candidates, and the files."""
        limits = self._round_limits()
        candidates = list(self._noise()) if first else []
        rows: list[tuple[bytes | None, bytes | None, str | None, list[str]]] = []
        enough = len(candidates) + ROUND_BATCHES * self.config.target.batch_size
        for _, file in source:
            judged = file.reason if isinstance(file, SkippedFile) else self._hygiene.judge(file)
            if isinstance(judged, Fingerprint):
                assert isinstance(file, SourceFile)
                self._hygiene.keep(judged)
                holes_skipped: list[str] = []
                made = list(self._candidates(file, limits, holes_skipped))
                candidates.extend(made)
                limits.subtract(candidate.quota for candidate in made)
                rows.append((*judged, None, holes_skipped))
            else:
                rows.append((None, None, judged, []))
            spent = any(limit <= 0 for limit in limits.values())
            if spent or len(candidates) >= enough or len(rows) >= ROUND_FILES:
                break
        files = pl.DataFrame(rows, schema=FILES_SCHEMA, orient="row")
        return self._evaluate(candidates), files

    def _round_limits(self) -> Counter[Quota]:
        """Candidates worth trying before looking again: twice what the scarcer outcome lacks.

        At least a batch; a quota whose limit is spent ends the round, so that no file is passed over.
        """
        limits: Counter[Quota] = Counter()
        for wanted, count in self._lacking.items():
            if count and wanted.quota.task != "noise":
                tries = count
                if wanted.quota.purpose == STUDY:
                    tries = max(2 * count, self.config.target.batch_size)
                limits[wanted.quota] = max(limits[wanted.quota], tries)
        return limits

    def _candidates(
        self, file: SourceFile, limits: Counter[Quota], holes_skipped: list[str]
    ) -> Iterator[Candidate]:
        document = self.formatter.tokenize(file.text)
        tasks = [quota.task for quota, limit in limits.items() if limit > 0 and quota.task != "random"]
        spans = find_spans(file.text, self.config.corpus.language, tasks) if tasks else {}
        for quota, limit in limits.items():
            generator = numpy_generator(self.config.seed, "prompts", *quota, file.path)
            made = 0
            for span in self._holes(quota, document, spans, generator):
                if made >= min(limit, self.config.prompts.per_file):
                    break
                prompt = self.formatter.prompt(document, span)
                if isinstance(prompt, Skip):
                    holes_skipped.append(prompt.value)
                    continue
                made += 1
                line = file.text.count("\n", 0, span.start) + 1
                text = file.text[span.start : span.end]
                yield Candidate(quota, file.path, line, file.group, text, prompt)

    def _holes(
        self, quota: Quota, document: Document, spans: dict[str, list[Span]], generator: np.random.Generator
    ) -> Iterator[Span]:
        if quota.task == "random":
            return random_spans(document, self.config.prompts.per_file, generator)
        found = spans.get(quota.task, [])
        return (found[index] for index in generator.permutation(len(found)))

    def _noise(self) -> Iterator[Candidate]:
        quota = Quota(STUDY, "noise")
        for number in range(self._lacking.get(Wanted(quota, None), 0)):
            generator = numpy_generator(self.config.seed, "prompts", *quota, number)
            name = f"noise/{number}"
            yield Candidate(quota, name, None, name, None, self.formatter.noise(generator))

    def _evaluate(self, candidates: list[Candidate]) -> pl.DataFrame:
        """Run the target on the candidates, in batches of equal length, in order."""
        size = self.config.target.batch_size
        frames = [pl.DataFrame(schema=EVALUATED_SCHEMA)]
        for start in range(0, len(candidates), size):
            frames.append(self._evaluate_batch(candidates[start : start + size]))
        return pl.concat(frames)

    def _evaluate_batch(self, batch: list[Candidate]) -> pl.DataFrame:
        logits = self.target.logits([candidate.prompt.input_ids for candidate in batch])
        true_ids = [candidate.prompt.target_id for candidate in batch]
        known = [true_id is not None for true_id in true_ids]
        found = outcomes(logits, torch.tensor([true_id or 0 for true_id in true_ids], device=logits.device))
        columns = {name: values.tolist() for name, values in found._asdict().items()}
        table = pl.DataFrame(
            {
                "purpose": [candidate.quota.purpose for candidate in batch],
                "task": [candidate.quota.task for candidate in batch],
                "file": [candidate.file for candidate in batch],
                "line": [candidate.line for candidate in batch],
                "group": [candidate.group for candidate in batch],
                "split": [split_of(candidate.group, self.config) for candidate in batch],
                "text": [candidate.text for candidate in batch],
                "input_ids": [list(candidate.prompt.input_ids) for candidate in batch],
                "target_id": true_ids,
                **columns,
                "known": known,
            }
        ).with_columns(pl.when("known").then(name).alias(name) for name in ("correct", "target_probability"))
        return table.select(pl.col(name).cast(dtype) for name, dtype in EVALUATED_SCHEMA.items())


def _quotas(config: StudyConfig) -> dict[Wanted, int]:
    """How many prompts of which quota and outcome are wanted."""
    prompts = config.prompts
    quotas: dict[Wanted, int] = {Wanted(Quota(ENCODER, "random"), None): prompts.encoder_prompts}
    for task in prompts.tasks:
        if task == "noise":
            quotas[Wanted(Quota(STUDY, task), None)] = prompts.per_task
        else:
            for outcome in (True, False):
                quotas[Wanted(Quota(STUDY, task), outcome)] = prompts.per_task // 2
    return quotas


def _most_common(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())
