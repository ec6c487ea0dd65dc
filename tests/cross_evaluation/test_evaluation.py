"""The whole evaluation of two tiny studies: its table, what it keeps, and what it refuses."""

import re

import polars as pl
import pytest
import torch
from helpers.corpora import write_corpus
from helpers.models import tiny_llama, write_target
from helpers.studies import random_prompts, tiny_study, write_study

from apmae import cli, cross_evaluation
from apmae.autoencoder import APMAEConfig, APMAEModel, tokens_of
from apmae.common.errors import ApmaeError
from apmae.cross_evaluation import cells
from apmae.study import Study
from apmae.study.artifacts import ENCODER, EVALUATION, PROMPTS
from apmae.study.study_file import load_config
from apmae.target_model import Target
from apmae.training import encoder_config

A, B = "made/a", "made/b"


@pytest.fixture(autouse=True)
def llamas(monkeypatch):
    """Two tiny Llamas of different weights and shapes, by the names of their hub ids; counts loads."""
    targets = {
        A: Target(tiny_llama(0), None, A),
        B: Target(tiny_llama(1, num_hidden_layers=2), None, B),
    }
    loads = []

    def load(config):
        loads.append(config.model)
        return targets[config.model]

    monkeypatch.setattr(Target, "from_config", load)
    return loads


@pytest.fixture
def studies(tmp_path):
    """Study a of target A, with row tokens, and study b of target B, without; both with encoders."""
    made = []
    for number, (name, model) in enumerate((("a", A), ("b", B))):
        target = {"model": model, "dtype": "float32", "batch_size": 4}
        encoder = {"size": "tiny", "patch_size": 4, "row_tokens": number == 0, "row_token_size": 4}
        study = tiny_study(
            tmp_path / name, random_prompts(seed=number), name=name, target=target, encoder=encoder
        )
        torch.manual_seed(number)
        APMAEModel(encoder_config(study.config)).save_pretrained(study.path(ENCODER))
        made.append(str(study.directory))
    return made


def test_the_matrix_of_two_studies(studies, tmp_path):
    table = cross_evaluation.evaluate(studies, [A, B], tmp_path / "out")
    assert table.schema == EVALUATION.schema
    assert table.select("encoder", "target", "own_target", "held_out", "row_tokens").rows() == [
        ("a", A, True, True, True),
        ("a", B, False, True, True),
        ("b", A, False, True, False),
        ("b", B, True, True, False),
    ]
    # Every fourth of the twenty encoder prompts is held out, and of those the correct ones count.
    right = [
        random_prompts(seed=seed).filter(purpose="encoder", split="test", correct=True).height
        for seed in (0, 1)
    ]
    assert table["prompts"].to_list() == right * 2
    assert table["patterns"].to_list() == [right[0] * 12, right[1] * 8] * 2
    written = [pl.read_parquet(path) for path in (tmp_path / "out" / "cells").iterdir()]
    for name in ("loss", "log_error_nats", "mass_error"):
        assert sorted(table[name]) == pytest.approx(sorted(cell[name].mean() for cell in written))
        assert sorted(table[f"{name}_std"]) == pytest.approx(sorted(cell[name].std() for cell in written))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"cells", *(f"evaluation.{kind}" for kind in ("parquet", "md", "svg", "png"))}


def test_the_order_of_encoders_and_targets_changes_nothing(studies, tmp_path):
    one = cross_evaluation.evaluate(studies, [A, B], tmp_path / "one")
    other = cross_evaluation.evaluate(studies[::-1], [B, A], tmp_path / "other")
    assert one.sort("encoder", "target").equals(other.sort("encoder", "target"))
    assert other["encoder"].to_list() == ["b", "b", "a", "a"]
    assert other["target"].to_list() == [B, A] * 2


def test_every_encoder_sees_the_same_masks_of_the_same_patterns(studies, tmp_path, monkeypatch):
    seen = {}

    def watched(model, log_patches, noise):
        patterns, masks = seen.setdefault(model.config.row_tokens, ([], []))
        patterns.append(log_patches)
        masks.append(model(tokens_of(log_patches.exp(), model.config), noise).mask[:, :10])
        return reconstruction_errors(model, log_patches, noise)

    reconstruction_errors = cells.reconstruction_errors
    monkeypatch.setattr(cells, "reconstruction_errors", watched)
    cross_evaluation.evaluate(studies, [A], tmp_path / "out")
    (patterns, masks), (other_patterns, other_masks) = seen[True], seen[False]
    assert torch.equal(torch.cat(patterns), torch.cat(other_patterns))
    assert torch.equal(torch.cat(masks), torch.cat(other_masks))
    assert len(torch.cat(masks).unique(dim=0)) > 10


def test_a_killed_evaluation_goes_on_at_the_first_missing_cell(studies, tmp_path, llamas):
    tracked = []

    def killed(items, description, total=None, **_):
        tracked.append(description)
        if len(tracked) == 4:
            raise InterruptedError
        return items

    with pytest.raises(InterruptedError):
        cross_evaluation.evaluate(studies, [A, B], tmp_path / "out", progress=killed)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 3
    said = []
    resumed = cross_evaluation.evaluate(studies, [A, B], tmp_path / "out", announce=said.append)
    assert [line.partition(":")[0] for line in said] == [f"b on {B}"]
    assert resumed.equals(cross_evaluation.evaluate(studies, [A, B], tmp_path / "fresh"))
    loads = len(llamas)
    assert resumed.equals(cross_evaluation.evaluate(studies, [A, B], tmp_path / "out"))
    assert len(llamas) == loads


def test_a_retrained_encoder_is_evaluated_anew(studies, tmp_path):
    before = cross_evaluation.evaluate(studies[:1], [A], tmp_path / "out")
    torch.manual_seed(7)
    APMAEModel(encoder_config(Study.open(studies[0]).config)).save_pretrained(f"{studies[0]}/{ENCODER}")
    after = cross_evaluation.evaluate(studies[:1], [A], tmp_path / "out")
    assert before["loss"].item() != after["loss"].item()


def test_prompts_bounds_the_prompts_and_a_study_may_be_a_target(studies, tmp_path):
    table = cross_evaluation.evaluate([f"{studies[0]}/encoder"], [studies[1]], tmp_path / "out", prompts=2)
    row = table.row(0, named=True)
    assert (row["target"], row["prompts"], row["own_target"], row["held_out"]) == (B, 2, False, False)
    assert row["encoder"] == f"{studies[0]}/encoder"


def test_studies_of_other_seeds_are_not_called_held_out(studies, tmp_path):
    path = tmp_path / "a" / "study.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    table = cross_evaluation.evaluate(studies, [A, B], tmp_path / "out")
    assert table["held_out"].to_list() == [True, False, False, True]


def test_a_pretrained_encoder_is_not_called_held_out(studies, tmp_path):
    path = tmp_path / "a" / "study.yaml"
    path.write_text(path.read_text().replace("pretrained: null", "pretrained: hub/encoder"))
    table = cross_evaluation.evaluate(studies, [A], tmp_path / "out")
    assert table.select("own_target", "held_out").rows() == [(True, False), (False, True)]


def save_encoder(directory, **overrides):
    APMAEModel(APMAEConfig.tiny(**{"pattern_size": 16, "patch_size": 4} | overrides)).save_pretrained(
        directory
    )
    return str(directory)


def test_what_does_not_fit_is_one_clear_line(studies, tmp_path):
    other = {
        name: save_encoder(tmp_path / name, **overrides)
        for name, overrides in {
            "patches": {"patch_size": 8},
            "patterns": {"pattern_size": 32},
            "masks": {"mask_ratio": 0.75},
        }.items()
    }
    (tmp_path / "b" / "encoder" / "model.safetensors").rename(tmp_path / "weights")
    (tmp_path / "b" / "encoder" / "config.json").rename(tmp_path / "config.json")
    (tmp_path / "b" / "encoder").rmdir()
    run = studies[0]
    for encoders, targets, message in [
        ([run, other["patches"]], [A], "a has patch_size 4 and .*/patches 8: no masks are the same for both"),
        ([run, other["patterns"]], [A], "a has pattern_size 16 and .*/patterns 32"),
        ([run, other["masks"]], [A], "a masks 0.5 .* and .*/masks 0.75: choose one with --mask-ratio"),
        ([other["patterns"]], [run], "patterns of 32 tokens, but the prompts of made/a have 16"),
        ([run, run], [A], "two encoders are called 'a'"),
        ([run], [A, run], "two targets are called 'made/a'"),
        ([other["masks"]], [A], "no study has the target made/a: give --study STUDY.yaml"),
        ([studies[1]], [A], "/b has no encoder yet: run `apmae train`"),
        ([str(tmp_path / "none")], [A], "/none: no such directory"),
    ]:
        with pytest.raises(ApmaeError, match=message) as refused:
            cross_evaluation.evaluate(encoders, targets, tmp_path / "out")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    assert (
        cross_evaluation.evaluate([run, other["masks"]], [A], tmp_path / "out", mask_ratio=0.25).height == 2
    )


def test_a_study_without_held_out_prompts_is_refused(studies, tmp_path):
    study = Study.open(studies[0])
    study.write(PROMPTS, study.prompts.with_columns(split=pl.lit("train")))
    with pytest.raises(ApmaeError, match="no held-out encoder prompt that is completed correctly: raise"):
        cross_evaluation.evaluate(studies[:1], [A], tmp_path / "out")


def test_prompts_of_a_new_target_are_mined(tmp_path, monkeypatch, capsys):
    """Through the command line, with a target on disk, two encoders, and a second run."""
    monkeypatch.undo()
    write_corpus(tmp_path / "corpus")
    write_target(tmp_path / "target", tmp_path / "corpus")
    base = write_study(tmp_path / "s.yaml", tmp_path / "target", tmp_path / "corpus", tmp_path / "unused")
    runs = [save_encoder(tmp_path / name, pattern_size=64, patch_size=16) for name in ("one", "two")]
    arguments = [
        *(part for run in runs for part in ("--encoder", run)),
        "--target",
        str(tmp_path / "target"),
        "--study",
        str(base),
    ]
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["apmae", "evaluate", *arguments, "--output", str(tmp_path / "out")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        printed, said = capsys.readouterr()
        assert printed == (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8")
        assert re.search(r"^\| one \| \d+\.\d\d \(\d+\.\d\d\) † \|$", printed, re.MULTILINE)
    assert "already done" in said
    (mined,) = (tmp_path / "out" / "prompts").iterdir()
    kept = Study.open(mined).prompts
    wanted = load_config(base).prompts.encoder_prompts
    assert kept["purpose"].value_counts().sort("purpose").rows() == [("encoder", wanted), ("study", 4)]
    table = pl.read_parquet(tmp_path / "out" / "evaluation.parquet")
    held_out = kept.filter(purpose="encoder", split="test", correct=True).height
    assert table["prompts"].unique().to_list() == [held_out]
    assert not (tmp_path / "unused").exists()
