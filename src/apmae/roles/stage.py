"""The stage `roles`: what every head looks at, in windows of code and in repeated random tokens.

A shard of examples is a file of the work directory. A killed stage loses the one in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from apmae.common.atomic import saved_parquet
from apmae.common.errors import ApmaeError
from apmae.common.seeding import derive_seed, numpy_generator
from apmae.intervention.resampling import stratified_means
from apmae.pipeline import Context
from apmae.prompts import Document, PromptFormatter
from apmae.prompts.tokenization import plain_ids
from apmae.roles.relations import Relation, Syntax, token_relations, window_relations
from apmae.roles.scores import RoleWeights, role_scores, role_weights
from apmae.study.artifacts import ROLES
from apmae.study.config import FEWEST_ROLE_WINDOWS
from apmae.target_model import Target
from apmae.token_study.windows import draw_windows

SHARD_EXAMPLES = 8
AT_ONCE = 2
"""Examples of one forward pass, of which a layer's patterns are held whole."""
CODE, REPEATED = "code", "repeated random tokens"


class Example(NamedTuple):
    """Tokens, and the roles that they have queries of.

    Attributes:
        text: `CODE` or `REPEATED`.
        group: examples of one group are not independent.
        input_ids: (T,).
    """

    text: str
    group: str
    input_ids: NDArray[np.int32]
    weights: list[RoleWeights]


def run(context: Context) -> dict[str, object]:
    """Write `roles.parquet`; returns counts for the stage's marker.

    Raises:
        ApmaeError: the corpus has too few windows.
    """
    study, config = context.study, context.study.config.roles
    if not config.windows:
        study.write(ROLES, ROLES.of_rows())
        return {"windows": 0}
    work = study.work_directory("roles", context.key)
    scores = _scores(context, work)
    drawn = scores.filter(text=CODE)["example"].n_unique()
    if drawn < FEWEST_ROLE_WINDOWS:
        raise ApmaeError(
            f"{context.corpus.description} has {drawn} windows of {study.config.prompts.length_tokens} "
            f"tokens, and roles need {FEWEST_ROLE_WINDOWS}: lower prompts.length_tokens, raise "
            "roles.per_file, or set roles.windows: 0"
        )
    roles = summarised(scores, derive_seed(study.config.seed, "roles", "bootstrap"))
    study.write(ROLES, roles)
    return {"windows": drawn, "roles": sorted(roles["role"].unique())}


def summarised(scores: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`ROLES`: means over examples, with intervals from a bootstrap over groups.

    Args:
        scores: `example`, `text`, `group`, `role`, `queries`, `layer`, `head`, `value`, `expected`.
    """
    parts = [ROLES.of_rows()]
    for (text, role), rows in scores.group_by("text", "role", maintain_order=True):
        heads = rows.select("layer", "head").unique(maintain_order=True)
        examples = rows.unique("example", maintain_order=True)
        if examples.height < FEWEST_ROLE_WINDOWS:
            continue
        shape = (examples.height, heads.height)
        values, expected = (
            rows[name].to_numpy().astype(np.float64).reshape(shape) for name in ("value", "expected")
        )
        one_stratum = np.zeros(examples.height, dtype=np.int64)
        found, difference = (
            stratified_means(columns, examples["group"], one_stratum, np.ones(1), (), seed)
            for columns in (values, values - expected)
        )
        part = heads.with_columns(
            pl.lit(role).alias("role"),
            pl.lit(text).alias("text"),
            value=found[0],
            low=found[1],
            high=found[2],
            expected=expected.mean(0),
            difference=difference[0],
            difference_low=difference[1],
            difference_high=difference[2],
            examples=pl.lit(examples.height),
            queries=pl.lit(int(examples["queries"].sum())),
        )
        parts.append(ROLES.cast(part))
    return pl.concat(parts)


def _scores(context: Context, work: Path) -> pl.DataFrame:
    """What `summarised` takes; shard by shard."""
    config = context.study.config.roles
    examples = enumerate(_examples(context))
    total = config.windows + config.random_sequences
    tables: list[pl.DataFrame] = []
    for number in context.progress(range(-(-total // SHARD_EXAMPLES)), "roles"):
        shard = list(islice(examples, SHARD_EXAMPLES))
        path = work / f"roles-{number:05d}.parquet"
        if shard:
            tables.append(saved_parquet(path, partial(scores_of_examples, context.target, shard)))
    return pl.concat(tables)


def scores_of_examples(target: Target, shard: Sequence[tuple[int, Example]]) -> pl.DataFrame:
    """What `summarised` takes, of numbered examples of one length."""
    layers, heads = np.array(target.heads, dtype=np.int16).T
    tables = []
    for start in range(0, len(shard), AT_ONCE):
        some = shard[start : start + AT_ONCE]
        ids = np.stack([example.input_ids for _, example in some])
        found = role_scores(target, ids, [example.weights for _, example in some])
        for (number, example), of_roles in zip(some, found, strict=True):
            for weights, scores in zip(example.weights, of_roles, strict=True):
                table = pl.DataFrame(
                    {"layer": layers, "head": heads, "value": scores[:, 0], "expected": scores[:, 1]}
                )
                tables.append(
                    table.with_columns(
                        pl.lit(number, pl.Int32).alias("example"),
                        pl.lit(example.text).alias("text"),
                        pl.lit(example.group).alias("group"),
                        pl.lit(weights.role).alias("role"),
                        pl.lit(weights.queries, pl.Int32).alias("queries"),
                    )
                )
    return pl.concat(tables)


def _examples(context: Context) -> Iterator[Example]:
    """Windows of code, then repeated random tokens."""
    config, target = context.study.config, context.target
    formatter = PromptFormatter(target.tokenizer, config.prompts.format, config.prompts.length_tokens)
    parsed: tuple[Document, Syntax] | None = None
    drawn = draw_windows(context.corpus, config, formatter, config.roles.per_file)
    for placed in islice(drawn, config.roles.windows):
        if parsed is None or parsed[0] is not placed.document:
            parsed = placed.document, Syntax.of(placed.document, config.corpus.language)
        relations = window_relations(placed, parsed[1])
        yield example_of(CODE, placed.window.group, placed.window.input_ids, relations)
    vocabulary = np.array(plain_ids(target.tokenizer))
    once = (config.prompts.length_tokens - len(formatter.leading_ids)) // 2
    for number in range(config.roles.random_sequences):
        generator = numpy_generator(config.seed, "roles", "random", number)
        ids = generator.choice(vocabulary, once)
        sequence = np.array([*formatter.leading_ids, *ids, *ids], dtype=np.int32)
        yield example_of(REPEATED, str(number), sequence, token_relations(sequence))


def example_of(text: str, group: str, input_ids: NDArray[np.int32], relations: Iterator[Relation]) -> Example:
    """Tokens with the roles that some of their queries have."""
    weights = [found for relation in relations if (found := role_weights(relation)) is not None]
    return Example(text, group, input_ids, weights)
