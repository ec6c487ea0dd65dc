"""The whole command on made-up token studies whose knowing heads differ by class and by run."""

import numpy as np
import pytest
from helpers.token_studies import made_up_token_study

from apmae.common.errors import ApmaeError
from apmae.token_study import predictor
from experiments.token_transfer import __main__ as command
from experiments.token_transfer import sources
from experiments.token_transfer.sources import Source, tokens_of_runs, training_rows


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "FEWEST_TOKENS", 100)
    first = made_up_token_study(tmp_path / "first", {"eol": 2, "identifiers": 1})
    second = made_up_token_study(tmp_path / "second", {"eol": 4, "identifiers": 4}, seed=1)
    return [first.directory, second.directory]


def areas(printed, features):
    """AUROC by what a classifier was fitted on and what it was read on."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line]
    column = rows[0].index(features)
    return {(row[0], row[1]): float(row[column]) for row in rows[2:]}


def test_a_head_that_knows_one_class_or_one_run_is_of_no_use_in_another(runs, capsys, monkeypatch):
    command.main(runs, seeds=1, model="linear", processes=1)
    printed = capsys.readouterr().out
    found = areas(printed, "rows")
    assert found["first", "first eol"] > 0.9
    assert found["first without eol", "first eol"] == pytest.approx(0.5, abs=0.1)
    assert found["first without identifiers", "first identifiers"] == pytest.approx(0.5, abs=0.1)
    assert found["first", "first"] > 0.9 < found["second", "second"]
    assert found["first", "second"] == pytest.approx(0.5, abs=0.1)
    assert set(found) == {
        *(("first", f"first {syntax}") for syntax in ("eol", "identifiers")),
        *((f"first without {syntax}", f"first {syntax}") for syntax in ("eol", "identifiers")),
        *((source, run) for source in ("first", "second") for run in ("first", "second")),
    }
    monkeypatch.setattr(predictor, "fit", None)  # a second run fits nothing
    command.main(runs, seeds=1, model="linear", processes=1)
    assert capsys.readouterr().out == printed


def test_a_classifier_sees_training_tokens_of_its_source_alone(runs):
    tokens = tokens_of_runs(runs)
    rows = tokens.table[training_rows(tokens, Source(1, "eol"))]
    assert rows["run"].unique().to_list() == [1]
    assert rows["syntax"].unique().to_list() == ["identifiers"]
    assert rows["split"].unique().to_list() == ["train"]
    assert tokens.table["group"].n_unique() == 24
    np.testing.assert_array_equal(len(tokens.table), len(tokens.arrays["row_statistics"]))


def test_runs_of_two_targets_are_refused(runs, monkeypatch):
    opened = sources.Study.open

    def other_target(directory):
        study = opened(directory)
        if directory == runs[1]:
            study.config.target.__dict__["model"] = "another"
        return study

    monkeypatch.setattr(sources.Study, "open", other_target)
    with pytest.raises(ApmaeError, match=r"second is of another, .*: name runs of one target"):
        tokens_of_runs(runs)


def test_runs_of_two_lengths_are_refused(runs, monkeypatch):
    opened = sources.Study.open

    def longer(directory):
        study = opened(directory)
        if directory == runs[1]:
            study.config.prompts.__dict__["length_tokens"] = 512
        return study

    monkeypatch.setattr(sources.Study, "open", longer)
    with pytest.raises(ApmaeError, match=r"second has windows of 512 tokens, .*: name runs of one length"):
        tokens_of_runs(runs)
