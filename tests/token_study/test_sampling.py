"""The draw of tokens and its weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apmae.token_study.sampling import draw_by_stratum


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.integers(7, 64), st.integers(0, 5))
def test_weights_give_back_the_size_of_every_stratum(strata, count, seed):
    strata = np.array(strata)
    places, weights = draw_by_stratum(strata, count, np.random.default_rng(seed))
    assert len(places) == min(count, len(strata)) == len(set(places.tolist()))
    assert (np.diff(places) > 0).all()
    for name, size in zip(*np.unique(strata, return_counts=True), strict=True):
        assert weights[strata[places] == name].sum() == pytest.approx(size)


def test_a_rare_stratum_is_drawn_more_often_than_its_share():
    strata = np.repeat([0, 1], [190, 10])
    places, _ = draw_by_stratum(strata, 20, np.random.default_rng(0))
    assert (strata[places] == 1).sum() == 3  # of 10 in 200, where its share of the draws would be 1


def test_weighted_rates_are_unbiased():
    generator = np.random.default_rng(0)
    strata = np.repeat([0, 1, 2], [100, 30, 5])
    value = generator.random(135)
    means = []
    for seed in range(400):
        places, weights = draw_by_stratum(strata, 12, np.random.default_rng(seed))
        means.append(np.average(value[places], weights=weights))
    assert np.mean(means) == pytest.approx(value.mean(), abs=4 * np.std(means) / 20)
