import numpy as np
import polars as pl

from apmae.clustering.exemplars import choose_exemplars, nearest_to_mean


def test_nearest_to_mean_by_hand():
    # Cluster 0 has its mean at 3 (members 0, 1, 2, 9): nearest is 2, then 1. Cluster 1 has one member.
    rows = np.array([[0], [9], [2], [1], [50], [70]], dtype=np.float16)
    clusters = np.array([0, 0, 0, 0, 1, -1], dtype=np.int16)
    assert nearest_to_mean(rows, clusters, 2).tolist() == [False, False, True, True, True, False]


def candidates(*rows: tuple[int, int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["layer", "head", "cluster", "prompt_id"], orient="row")


def test_cover_takes_the_prompt_that_stands_for_most_clusters():
    table = candidates((0, 0, 0, 5), (0, 0, 0, 1), (0, 1, 0, 5), (0, 1, 0, 2), (1, 0, 3, 2), (1, 0, 2, 5))
    chosen = choose_exemplars(table)
    assert chosen.rows() == [(0, 0, 0, 5), (0, 1, 0, 5), (1, 0, 2, 5), (1, 0, 3, 2)]


def test_cover_breaks_ties_by_lowest_prompt_id():
    table = candidates((0, 0, 0, 8), (0, 0, 0, 3), (0, 1, 0, 8), (0, 1, 0, 3))
    assert choose_exemplars(table)["prompt_id"].to_list() == [3, 3]


def test_cover_of_nothing_is_empty():
    assert choose_exemplars(candidates((0, 0, 0, 1)).clear()).is_empty()
