"""Reconstructions: what is visible is the pattern's own, what is masked is not shown."""

import numpy as np
import torch
from tiny_studies import tiny_study

from apmae.model import APMAEModel
from apmae.reconstruction import reconstructions
from apmae.training import encoder_config


def test_visible_patches_are_kept_and_masked_ones_predicted(tmp_path, llama):
    study = tiny_study(tmp_path, report={"reconstructions": 3})
    torch.manual_seed(0)
    model = APMAEModel(encoder_config(study.config)).eval()
    found = reconstructions(study, llama, model)
    held_out = set(study.study_prompts.filter(split="test")["prompt_id"])
    assert {item.prompt_id for item in found} <= held_out
    assert len({(item.layer, item.head) for item in found}) == 3
    for item in found:
        visible = ~np.isnan(item.masked)
        np.testing.assert_array_equal(item.masked[visible], item.pattern[visible])
        np.testing.assert_array_equal(item.reconstruction[visible], item.pattern[visible])
        assert not np.allclose(item.reconstruction[~visible], item.pattern[~visible])
        # Of the four patches of the last row two are masked, of the six above it three.
        assert (~visible).sum() == 5 * 4 * 4
        assert item.loss > 0


def test_the_same_study_shows_the_same(tmp_path, llama):
    study = tiny_study(tmp_path)
    model = APMAEModel(encoder_config(study.config)).eval()
    first, second = (reconstructions(study, llama, model) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.masked, other.masked)
