"""Mean effects by hand, and the agreement of two estimates."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from apmae.effects.summary import Sample, agreement, summarised

PROMPTS = pl.DataFrame(
    {
        "prompt_id": [0, 1, 2, 3, 4, 5],
        "group": ["a", "a", "b", "b", "c", "d"],
        "correct": [True, True, True, True, False, False],
    }
)


def effects(values, correct=None, heads=((0, 0), (1, 2))):
    columns = {"log_probability": values} | ({} if correct is None else {"correct": correct})
    return pl.DataFrame(
        {
            "prompt_id": PROMPTS["prompt_id"].to_list() * len(heads),
            "layer": [layer for layer, _ in heads for _ in range(6)],
            "head": [head for _, head in heads for _ in range(6)],
            **columns,
        }
    )


def summary(table, base_rate=0.8, prompts=PROMPTS):
    sample = Sample("eol", "test", prompts, base_rate, seed=0)
    return summarised(sample, table, "zero", "exact", np.ones(8), n_heads=4)


def test_outcomes_weigh_the_same_or_as_often_as_they_are():
    values = [1.0, 1.0, 1.0, 1.0, -2.0, -2.0, 0.0, 0.0, 4.0, 0.0, 0.0, 1.0]
    found = summary(effects(values))
    one = found.filter(layer=0, head=0)
    assert dict(one.select("weighting", "value").rows()) == pytest.approx(
        {"balanced": -0.5, "base_rate": 0.8 * 1 - 0.2 * 2}
    )
    other = found.filter(layer=1, head=2)
    assert dict(other.select("weighting", "value").rows()) == pytest.approx(
        {"balanced": 0.75, "base_rate": 0.8 * 1 + 0.2 * 0.5}
    )
    assert ((other["low"] < other["value"]) & (other["value"] < other["high"])).all()
    assert found["prompts"].unique().to_list() == [6]


def test_an_interval_of_correctness_has_a_width_where_nothing_changed():
    found = summary(effects([0.5] * 12, correct=[0] * 12)).filter(outcome="correct")
    assert found["value"].to_list() == [0.0] * 4
    assert (found["high"] > 0).all() and (found["low"] < 0).all()


def test_a_base_rate_that_is_not_known_gives_no_effect_at_it():
    assert summary(effects([0.5] * 12), base_rate=np.nan)["weighting"].unique().to_list() == ["balanced"]


def test_prompts_of_one_outcome_give_no_effect():
    assert summary(effects([0.5] * 12), prompts=PROMPTS.with_columns(correct=True)).is_empty()


def test_agreement_over_all_heads_is_the_plain_correlation():
    generator = np.random.default_rng(0)
    first = generator.normal(size=30)
    second = first + generator.normal(size=30)
    correlation, rank = agreement(first, second, np.ones(30))
    assert correlation == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert rank == pytest.approx(spearmanr(first, second)[0])


def test_heads_drawn_at_random_stand_for_the_others():
    """Ten heads that agree and are sure to be ablated do not hide a hundred that do not."""
    generator = np.random.default_rng(0)
    sure = np.linspace(-1, 1, 10)
    first, second = generator.normal(size=(2, 1000)) * 0.5
    of_all = np.corrcoef(np.append(np.repeat(sure, 1), first), np.append(sure, second))[0, 1]
    drawn = generator.choice(1000, 100, replace=False)
    inclusion = np.append(np.ones(10), np.full(100, 0.1))
    estimated, _ = agreement(np.append(sure, first[drawn]), np.append(sure, second[drawn]), inclusion)
    naive = np.corrcoef(np.append(sure, first[drawn]), np.append(sure, second[drawn]))[0, 1]
    assert abs(estimated - of_all) < abs(naive - of_all) / 3


@pytest.mark.parametrize("heads", [0, 2])
def test_two_heads_have_no_agreement(heads):
    assert all(np.isnan(value) for value in agreement(*np.ones((3, heads))))
