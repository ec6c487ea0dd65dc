"""Metrics of tokens: what they are means of, and that significance can be reached."""

import numpy as np
from helpers.token_studies import made_up_token_study

from apmae.prediction.measurement import holm, p_value
from apmae.report.summaries import SIGNIFICANCE
from apmae.token_study.measurement import ALL, RESAMPLES, Kind, measure
from apmae.token_study.syntax import SYNTAX_CLASSES


def test_the_smallest_p_value_survives_holms_correction_over_all_classes():
    clear = p_value(np.ones(1 + RESAMPLES))
    others = np.ones(len(SYNTAX_CLASSES) - 1)
    assert holm(np.array([clear, *others]))[0] < SIGNIFICANCE


def test_a_value_is_the_mean_over_seeds_and_a_difference_is_paired(tmp_path):
    study = made_up_token_study(tmp_path, {})
    test = study.tokens.filter(split="test")
    generator = np.random.default_rng(0)
    odds = [generator.normal(size=test.height) for _ in range(2)]
    kinds = {Kind("confidence", "mlp"): odds, Kind("rows", "mlp"): [odds[0], odds[0]]}
    found = measure(test, kinds, 0, ["confidence"]).filter(syntax=ALL, metric="auroc")
    alone = {
        name: measure(test, {Kind("confidence", "mlp"): [values]}, 0, [])
        .filter(syntax=ALL, metric="auroc")["value"]
        .item()
        for name, values in zip("ab", odds, strict=True)
    }
    value = {
        (features, reference): value
        for features, reference, value in found.select("features", "difference_from", "value").rows()
    }
    assert np.isclose(value["confidence", ""], (alone["a"] + alone["b"]) / 2)
    assert np.isclose(value["rows", "confidence"], alone["a"] - value["confidence", ""])
