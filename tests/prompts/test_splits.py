"""Which groups fall into which split, and what a split is used for."""

from __future__ import annotations

import pytest
from helpers.studies import random_prompts, tiny_config

from apmae.common.errors import ApmaeError
from apmae.prompts.stage import split_of
from apmae.stages import STAGES
from apmae.study.config import StudyConfig
from apmae.study.directory import stage_key
from apmae.training.prompts import encoder_prompts

GROUPS = [f"group {number}" for number in range(2_000)]


def config(directory="unused", *, measured_split="test", **prompts) -> StudyConfig:
    plain = tiny_config(directory)
    values = {"prompts": plain.prompts.model_dump() | prompts, "measured_split": measured_split}
    return StudyConfig.model_validate(plain.model_dump() | values)


def splits(**prompts) -> list[str]:
    made = config(**prompts)
    return [split_of(group, made) for group in GROUPS]


def test_the_test_groups_are_the_same_whatever_the_development_fraction_is() -> None:
    plain = splits()
    assert set(plain) == {"train", "test"}
    for fraction in (0.1, 0.5):
        found = splits(development_fraction=fraction)
        pairs = set(zip(plain, found, strict=True))
        assert pairs == {("test", "test"), ("train", "train"), ("train", "development")}
        assert found.count("development") / len(GROUPS) == pytest.approx(fraction, abs=0.03)


def test_what_is_measured_on_redoes_clusters_and_what_follows_but_no_prompts_and_no_encoder() -> None:
    two = [config(development_fraction=0.2, measured_split=split) for split in ("test", "development")]
    changed = {stage.name for stage in STAGES if len({stage_key(made, stage, {}) for made in two}) > 1}
    assert changed == {"effects", "cluster"}
    assert {stage.name for stage in STAGES if "cluster" in stage.needs} == {"predict", "intervene", "report"}


def test_encoders_are_trained_and_validated_without_development_prompts() -> None:
    prompts = random_prompts(encoder_count=200)
    prompts = prompts.with_columns(
        split=prompts["prompt_id"].replace_strict(
            {number: ("development", "test", "train", "train")[number % 4] for number in prompts["prompt_id"]}
        )
    )
    training, validation = encoder_prompts(prompts, config().training)
    assert set(training["split"]) == {"train"}
    assert set(validation["split"]) == {"test"}


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"measured_split": "development"},
            "measured_split: development needs a prompts.development_fraction",
        ),
        ({"development_fraction": 0.75}, "leave no group to fit on"),
    ],
)
def test_splits_that_cannot_be_are_refused(sections, said) -> None:
    with pytest.raises((ApmaeError, ValueError), match=said):
        config(**sections)
