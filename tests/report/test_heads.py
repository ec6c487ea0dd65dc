"""What heads do, know and look like: rows, the choice on training prompts, and the agreement of rankings."""

import numpy as np
import pytest

from apmae.report.data import ReportData
from apmae.report.sections import heads, roles
from apmae.study.artifacts import EFFECTS, ROLES


@pytest.fixture
def data(made_up_study):
    return ReportData(made_up_study, [], "key")


def leader(data):
    """The head that the fixture gives the largest effects."""
    return data.study.importance.sort("max_difference", descending=True).select("layer", "head").row(0)


def effect(head, split, value, method="exact", operation="zero", weighting="base_rate"):
    return {
        "task": "eol",
        "layer": 0,
        "head": head,
        "split": split,
        "operation": operation,
        "method": method,
        "outcome": "log_probability",
        "weighting": weighting,
        "value": value,
    }


def test_training_prompts_choose_the_heads_and_held_out_prompts_measure_them():
    table = EFFECTS.of_rows(
        [
            effect(0, "train", -0.3),
            effect(1, "train", 0.5),
            effect(2, "train", 0.1),
            effect(0, "test", 0.01),
            effect(1, "test", 0.02),
            effect(2, "test", -9.0),
            effect(2, "train", 9.0, weighting="balanced"),
            effect(2, "train", 9.0, method="attribution"),
        ]
    )
    found = heads.leading_heads(table, 2)
    assert found.select("head", "split", "value").rows() == [(1, "test", 0.02), (0, "test", 0.01)]


def test_attribution_stands_in_where_no_head_was_ablated():
    table = EFFECTS.of_rows(
        [
            effect(head, split, value, method="attribution")
            for split in ("train", "test")
            for head, value in ((0, 0.1), (1, -0.4))
        ]
    )
    assert heads.leading_heads(table, 5)["head"].to_list() == [1, 0]


def test_a_row_has_all_that_is_known_of_a_head(data):
    rows = heads.head_rows(data, "identifiers")
    first = rows[0]
    assert (first["layer"], first["head"]) == leader(data)
    assert first["effect"]["value"] == pytest.approx(-0.6 * 1.2)
    assert first["correct"]["value"] == pytest.approx(-0.6 * 1.2 * 0.4)
    assert first["mean"]["value"] == pytest.approx(-0.6 * 1.2 * 0.8)
    assert first["roles"] == "previous token 0.90, opening bracket 0.20"
    assert first["verdict"] == "facilitating"
    importance = data.importance.filter(task="identifiers").sort("max_difference", descending=True)
    place = importance.select("layer", "head").rows().index(leader(data)) + 1
    assert first["shap_rank"] == place
    assert rows[1]["roles"] == "" and rows[1]["verdict"] == "irrelevant"


def test_rankings_are_compared_with_effects_and_chance(data):
    section = heads.section(data)
    assert section is not None
    assert section.content["rankings"][0] == "attribution"
    assert any(name.startswith("SHAP of") for name in section.content["rankings"])
    for _, cells in section.content["agreement"]:
        assert cells[0].value == pytest.approx(1.0)  # attribution was made of the effects
    assert section.content["seconds"] == {"exact": 61.0, "attribution": 12.0}


def test_the_leading_head_is_shown_with_its_task(data):
    drawing = {made.name: made for made in heads.section(data).figures}["leading_heads"]
    layer, head = leader(data)
    assert drawing.alt.startswith(f"Attention patterns: L{layer}H{head} (")


def test_agreement_is_spearmans_and_its_interval_covers_it():
    generator = np.random.default_rng(0)
    first = generator.normal(size=200)
    found = heads.rank_agreement(first, first + generator.normal(size=200), seed=0)
    assert found.low < found.value < found.high and found.low > 0.3
    chance = heads.rank_agreement(first, generator.normal(size=200), seed=0)
    assert chance.low < 0 < chance.high
    assert np.isnan(heads.rank_agreement(first[:2], first[:2], seed=0).value)


def test_a_study_without_effects_or_roles_has_no_section(data):
    data.__dict__.update(effects=EFFECTS.of_rows(), roles=ROLES.of_rows())
    assert heads.section(data) is None and roles.section(data) is None


def test_roles_name_the_heads_that_have_them(data):
    rows = roles.role_rows(data.roles.filter(text="code"))
    assert [row["role"] for row in rows] == ["previous_token", "opening_bracket"]
    assert [row["clear"] for row in rows] == [1, 1]
    assert [(head["layer"], head["head"]) for head in rows[0]["heads"]] == [leader(data)]
    absent = data.roles.filter(text="code").with_columns(difference_low=-0.1)
    assert [row["clear"] for row in roles.role_rows(absent)] == [0, 0]
