from __future__ import annotations

import numpy as np
import polars as pl

from apmae.report.gallery import choose_members, choose_tiles, cluster_outcomes, exemplar_table
from apmae.study import Study

PROMPTS = pl.DataFrame(
    {
        "prompt_id": pl.Series([0, 1, 2, 3], dtype=pl.Int32),
        "task": ["eol"] * 4,
        "file": ["A.java"] * 4,
        "line": [1, 2, 3, 4],
        "text": ["\n"] * 4,
        "correct": [True, True, False, None],
    }
)
HEADS = {"layer": pl.Int16, "head": pl.Int16, "cluster": pl.Int16, "prompt_id": pl.Int32}


def clusters(*per_head: tuple[int, int, list[int]]) -> pl.DataFrame:
    rows = [
        (layer, head, cluster, prompt)
        for layer, head, members in per_head
        for prompt, cluster in enumerate(members)
    ]
    return pl.DataFrame(rows, schema=HEADS, orient="row")


def exemplars(*rows: tuple[int, int, int]) -> pl.DataFrame:
    table = pl.DataFrame([(*row, 0) for row in rows], schema=dict.fromkeys(HEADS, pl.Int32), orient="row")
    return table.with_row_index("index")


def importance(*rows: tuple[int, int, float]) -> pl.DataFrame:
    schema = {"layer": pl.Int16, "head": pl.Int16, "max_difference": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_cluster_outcomes_by_hand() -> None:
    outcomes = cluster_outcomes(clusters((0, 0, [0, 1, 1, 2])), PROMPTS).sort("cluster")
    assert outcomes.select("cluster", "size", "correct_fraction").rows() == [
        (0, 1, 1.0),
        (1, 2, 0.5),
        (2, 1, None),
    ]


def test_every_head_comes_once_before_any_comes_twice() -> None:
    tiles = choose_tiles(
        exemplars((0, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)),
        importance((0, 0, 0.2), (1, 1, 0.9)),
        clusters((0, 0, [0, 0, 1, 1]), (1, 1, [0, 0, 1, 1])),
        PROMPTS,
        2,
    )
    assert [(tile.layer, tile.head) for tile in tiles] == [(1, 1), (0, 0)]


def test_within_a_head_the_cluster_that_departs_most_comes_first() -> None:
    # All prompts: 2 of 3 correct. Cluster 0: (1, 1), departs by 1/3; cluster 1: (0), departs by 2/3.
    tiles = choose_tiles(
        exemplars((0, 0, 0), (0, 0, 1)),
        importance((0, 0, 0.2)),
        clusters((0, 0, [0, 0, 1, 1])),
        PROMPTS,
        1,
    )
    assert [(tile.cluster, tile.size, tile.correct_fraction, tile.index) for tile in tiles] == [
        (1, 2, 0.0, 1)
    ]


def test_heads_without_importance_are_still_shown() -> None:
    tiles = choose_tiles(
        exemplars((0, 0, 0)), importance((5, 5, float("nan"))), clusters((0, 0, [0] * 4)), PROMPTS, 4
    )
    assert [tile.name for tile in tiles] == ["L0H0, cluster 0"]


def test_exemplars_are_read_once_per_cluster(made_up_study: Study) -> None:
    table = exemplar_table(made_up_study.exemplars)
    assert table.select("layer", "head", "cluster").is_unique().all()
    assert set(table["index"].to_list()) == set(range(made_up_study.exemplars["layer"].shape[0]))


def test_members_are_of_one_cluster_and_noise_is_shown_to_the_heads_in_turn() -> None:
    table = clusters((0, 0, [0, 1, 0, 1, 0, 0]), (0, 1, [0, 0, 0, 0, 1, 1]))
    prompts = pl.DataFrame(
        {
            "prompt_id": range(6),
            "task": ["eol"] * 3 + ["noise"] * 3,
            "file": "A.java",
            "line": 1,
            "text": "x",
            "correct": [True, False, True, None, None, None],
        }
    )
    tiles = choose_tiles(
        exemplars((0, 0, 0), (0, 1, 0)), importance((0, 0, 1.0), (0, 1, 0.5)), table, prompts, 2
    )
    chosen = choose_members(tiles, table, prompts, 3, np.random.default_rng(0))
    members, noise = chosen[:3], chosen[3:]
    assert {prompt for _, prompt, _ in members} < {0, 2, 4, 5}
    assert {head for _, _, head in members} == {(0, 0)}
    assert {prompt for _, prompt, _ in noise} == {3, 4, 5}
    assert [head for _, _, head in noise] == [(0, 0), (0, 1), (0, 0)]
    assert noise[0][0] == "L0H0, noise"
    assert len(choose_members(tiles, table, prompts.head(3), 9, np.random.default_rng(0))) == 4
