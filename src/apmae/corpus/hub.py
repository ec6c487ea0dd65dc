"""Source files streamed from a Hugging Face data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed
from apmae.corpus.files import Corpus, SkippedFile, SourceFile, source_file
from apmae.study.config import CorpusConfig

if TYPE_CHECKING:
    from datasets import IterableDataset

SHUFFLE_BUFFER_ROWS = 1_000
"""Size of the buffer that the next row is drawn from. Shards are shuffled too."""


def hub_corpus(config: CorpusConfig, seed: int) -> Corpus:
    """The rows of a streamed data set. A file's name is `<data set>#<its position>`.

    Resuming at a position streams the earlier rows again, without decoding their text.
    """
    columns = [config.text_column, *filter(None, [config.group_column]), *config.exclude_flags]
    dataset = _stream(config)
    _require_columns(dataset, columns, config)
    rows = dataset.select_columns(sorted(set(columns)))
    rows = rows.shuffle(seed=derive_seed(seed, "corpus"), buffer_size=SHUFFLE_BUFFER_ROWS)
    identity = (config.path, config.hub_config, config.hub_split, config.hub_revision)
    given = [
        f"{name} {value}"
        for name, value in zip(("config", "split", "revision"), identity[1:], strict=True)
        if value
    ]
    return Corpus(
        fingerprint=f"hub:{identity}",
        description=f"data set {config.path}, {', '.join(given)}",
        read=partial(_read, rows, config),
        max_files=config.max_files,
    )


def _stream(config: CorpusConfig) -> IterableDataset:
    try:
        import datasets
    except ImportError:
        raise ApmaeError("corpus.source: hub needs the package datasets: pip install 'apmae[hub]'") from None
    try:
        return datasets.load_dataset(
            config.path,
            name=config.hub_config,
            split=config.hub_split,
            revision=config.hub_revision,
            streaming=True,
        )
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise ApmaeError(f"corpus.path: data set {config.path}: {' '.join(str(error).split())}") from None


def _require_columns(dataset: IterableDataset, columns: list[str], config: CorpusConfig) -> None:
    there = dataset.column_names or list(next(iter(dataset), {}))
    if not there:
        raise ApmaeError(f"data set {config.path}: the split {config.hub_split} has no rows")
    missing = [column for column in columns if column not in there]
    if missing:
        raise ApmaeError(
            f"data set {config.path} has no column {', '.join(missing)}; there are: {', '.join(there)}"
        )


def _read(rows: IterableDataset, config: CorpusConfig, start: int) -> Iterator[SourceFile | SkippedFile]:
    for position, row in enumerate(rows.skip(start), start):
        yield _file(f"{config.path}#{position}", row, config)


def _file(path: str, row: dict[str, Any], config: CorpusConfig) -> SourceFile | SkippedFile:
    if any(row[flag] for flag in config.exclude_flags):
        return SkippedFile(path, "flagged")
    # A lone surrogate, which JSON can hold, becomes bytes that are not UTF-8.
    data = (row[config.text_column] or "").encode("utf-8", "surrogatepass")
    if len(data) > config.max_file_bytes:
        return SkippedFile(path, "too large")
    return source_file(path, data, group=str(row[config.group_column]) if config.group_column else path)
