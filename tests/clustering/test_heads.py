import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from apmae.clustering.heads import canonical_ids, cluster_rows
from apmae.study.config import ClusteringConfig

KMEANS = ClusteringConfig(method="kmeans", n_clusters=3)
DENSITY = ClusteringConfig(method="umap_hdbscan", min_cluster_size=10, min_samples=5, umap_neighbors=10)
BOTH = pytest.mark.parametrize("config", [KMEANS, DENSITY], ids=["kmeans", "umap_hdbscan"])


def groups(size: int, seed: int = 0) -> np.ndarray:
    """Three tight bundles of directions, `size` rows each, one after the other."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(np.eye(8)[:3] * 5, size, axis=0)
    return (centres + generator.normal(0, 0.1, centres.shape)).astype(np.float16)


def everything(rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows), dtype=bool)


@BOTH
def test_finds_three_groups_and_assigns_new_rows_to_them(config):
    rows = groups(40)
    truth = np.repeat([0, 1, 2], 40)
    fitted = np.arange(len(rows)) % 4 != 3
    clusters = cluster_rows(rows, fitted, config, seed=1)
    assert adjusted_rand_score(truth[fitted], clusters[fitted]) > 0.95
    assert adjusted_rand_score(truth[~fitted], clusters[~fitted]) > 0.95


@BOTH
def test_equal_rows_are_one_cluster(config):
    rows = np.full((60, 8), 0.5, dtype=np.float16)
    assert (cluster_rows(rows, everything(rows), config, seed=0) == 0).all()


@BOTH
def test_duplicates_have_the_id_of_their_original(config):
    rows = groups(30)
    doubled = np.concatenate([rows, rows[::-1]])
    clusters = cluster_rows(doubled, everything(doubled), config, seed=0)
    np.testing.assert_array_equal(clusters[:90], clusters[90:][::-1])
    once = cluster_rows(rows, everything(rows), config, seed=0)
    np.testing.assert_array_equal(clusters[:90], once)


def test_fewer_distinct_rows_than_min_cluster_size_are_noise():
    rows = np.concatenate([groups(3)] * 9)
    assert (cluster_rows(rows, everything(rows), DENSITY, seed=0) == -1).all()


def test_a_head_of_one_dense_region_is_one_cluster_only_where_that_is_allowed():
    rows = np.random.default_rng(0).normal(5, 1, (120, 8)).astype(np.float16)
    found = {}
    for allowed in (False, True):
        config = DENSITY.model_copy(update={"allow_single_cluster": allowed})
        found[allowed] = set(cluster_rows(rows, everything(rows), config, seed=0).tolist()) - {-1}
    assert found[True] == {0}
    assert found[False] != {0}


def test_fewer_distinct_rows_than_umap_needs_are_clustered_unreduced():
    config = DENSITY.model_copy(update={"min_cluster_size": 3, "min_samples": 2, "umap_neighbors": 20})
    rows = groups(6)
    rows[:6] *= 7  # cosine: the length of a row says nothing
    clusters = cluster_rows(rows, everything(rows), config, seed=0)
    assert adjusted_rand_score(np.repeat([0, 1, 2], 6), clusters) == 1


def test_fewer_distinct_rows_than_centres_are_a_cluster_each():
    rows = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float16)
    assert cluster_rows(rows, everything(rows), KMEANS, seed=0).tolist() == [0, 1, 0, 0]


def test_kmeans_weighs_duplicates_like_fitting_them_all():
    # Centres 0.1 and 10.5 meet at 5.3; with every distinct row counted once, 0.5 and 10.5 at 5.5.
    config = KMEANS.model_copy(update={"n_clusters": 2})
    rows = np.array([[0.0]] * 9 + [[1.0], [10.0], [11.0], [5.4]], dtype=np.float16)
    clusters = cluster_rows(rows, np.arange(13) < 12, config, seed=0)
    assert clusters.tolist() == [0] * 10 + [1, 1, 1]


@BOTH
def test_rows_that_are_not_fitted_have_no_influence(config):
    rows = groups(40)
    fitted = np.arange(len(rows)) % 4 != 3
    changed = rows.copy()
    changed[~fitted] = np.random.default_rng(5).normal(0, 9, changed[~fitted].shape)
    before = cluster_rows(rows, fitted, config, seed=1)
    after = cluster_rows(changed, fitted, config, seed=1)
    np.testing.assert_array_equal(before[fitted], after[fitted])


def test_noise_neighbours_vote_for_noise():
    config = DENSITY.model_copy(update={"min_cluster_size": 5, "min_samples": 2, "umap_neighbors": 50})
    lonely = np.eye(8, dtype=np.float16)[3:7]
    rows = np.concatenate([groups(8), lonely, lonely[:1] * 2, groups(1, seed=9)])
    fitted = np.arange(len(rows)) < 28
    clusters = cluster_rows(rows, fitted, config.model_copy(update={"assign_neighbors": 1}), seed=0)
    assert clusters[24:28].tolist() == [-1] * 4
    assert clusters[28] == -1
    assert clusters[29:].tolist() == clusters[[0, 8, 16]].tolist()


def test_rows_that_are_not_written_are_refused():
    rows = groups(5)
    rows[2, 3] = np.nan
    with pytest.raises(AssertionError, match="not written"):
        cluster_rows(rows, everything(rows), KMEANS, seed=0)


def test_canonical_ids_by_size_then_first_member():
    labels = np.array([7, -1, 4, 4, 2, 2, 9, 9, 9])
    assert canonical_ids(labels, everything(labels)).tolist() == [3, -1, 1, 1, 2, 2, 0, 0, 0]
    fitted = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    assert canonical_ids(labels, fitted).tolist() == [2, -1, 0, 0, 1, 1, 3, 3, 3]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=30), st.permutations(range(5)))
def test_canonical_ids_do_not_depend_on_the_names_before(labels, names):
    before = np.array(labels)
    renamed = np.array([-1 if label < 0 else names[label] for label in labels])
    np.testing.assert_array_equal(
        canonical_ids(before, everything(before)), canonical_ids(renamed, everything(before))
    )
