"""Scores by hand, and of a target against its patterns."""

import numpy as np
import pytest

from apmae.roles.relations import Relation, token_relations
from apmae.roles.scores import role_scores, role_weights


def relation(keys, candidates):
    masks = np.zeros((2, 4, 4), dtype=bool)
    for mask, pairs in zip(masks, (keys, candidates), strict=True):
        for query, key in pairs:
            mask[query, key] = True
    return Relation("role", *masks)


def test_a_score_is_the_mean_over_queries_and_its_expectation_that_of_uniform_attention():
    weights = role_weights(relation([(2, 0), (3, 1)], [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]))
    assert weights is not None and weights.queries == 2
    pattern = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.6, 0.2, 0.2, 0], [0.1, 0.3, 0.2, 0.4]])
    assert (weights.value * pattern).sum() == pytest.approx((0.6 + 0.3) / 2)
    assert (weights.expected * pattern).sum() == pytest.approx((0.8 / 2 + 0.6 / 3) / 2)


def test_a_query_whose_candidates_are_all_keys_does_not_count():
    weights = role_weights(relation([(2, 0), (3, 1)], [(2, 0), (3, 1), (3, 2)]))
    assert weights is not None and weights.queries == 1
    assert not weights.value[2].any()
    assert role_weights(relation([(2, 0)], [(2, 0)])) is None


def test_uniform_attention_has_the_expected_score():
    for made in token_relations(np.array([3, 5, 3, 5, 7, 3], dtype=np.int32)):
        weights = role_weights(made)
        assert weights is not None
        uniform = np.tri(6) / np.arange(1, 7)[:, None]
        assert (weights.value * uniform).sum() == pytest.approx((weights.expected * uniform).sum(), abs=1e-6)


def test_a_targets_scores_are_those_of_its_patterns(llama):
    ids = np.random.default_rng(0).integers(0, 9, (3, 16)).astype(np.int32)
    weights = [
        [made for found in token_relations(row) if (made := role_weights(found)) is not None] for row in ids
    ]
    weights[1] = weights[1][:2]  # windows need not have the same roles
    found = role_scores(llama, ids, weights)
    patterns = llama.run(ids, scaling="probability").patterns.flatten(1, 2).numpy()
    for window, roles in enumerate(weights):
        assert found[window].shape == (len(roles), 12, 2)
        for number, role in enumerate(roles):
            for place, part in enumerate((role.value, role.expected)):
                expected = (patterns[window] * part).sum((1, 2))
                np.testing.assert_allclose(found[window][number, :, place], expected, atol=1e-5)
