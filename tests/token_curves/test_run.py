"""The whole command on a made-up token study in which one head alone knows which tokens are correct."""

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from helpers.studies import tiny_config
from helpers.token_studies import KEPT, made_up_token_study

from apmae.common.errors import ApmaeError
from apmae.study import Study
from apmae.token_study import columns, predictor
from apmae.token_study.measurement import ALL, Kind
from experiments.token_curves import __main__ as command
from experiments.token_curves import cells, figure, pairs


@pytest.fixture
def study(tmp_path):
    return made_up_token_study(tmp_path / "run", {"eol": 2, "identifiers": 2})


def test_tables_show_that_the_head_knows_what_nothing_else_does(study, capsys, monkeypatch):
    command.main(study.directory, labels=[400, 0], seeds=2, model=["linear"], processes=1)
    printed = capsys.readouterr().out
    assert "| features | model | 400 | all |" in printed
    curves = pl.read_parquet(study.path(command.CURVES))
    area = curves.filter(syntax=ALL, metric="auroc", labels=0)
    values = dict(area.filter(difference_from="").select("features", "value").iter_rows())
    assert values["rows"] > 0.9
    assert 0.55 < values["strong"] < 0.8
    assert values["identity"] == pytest.approx(0.5, abs=0.08)
    gain = area.filter(features="strong+rows", difference_from="strong").row(0, named=True)
    assert gain["low"] > 0.1
    pair = area.filter(features="strong & confidence+rows", difference_from="strong & strong")
    assert pair["low"].item() > 0.1
    assert "| strong & confidence+rows | linear |" in printed
    by_class = curves.filter(pl.col("syntax") != ALL)
    assert set(by_class["syntax"]) == {"eol", "identifiers"}
    assert by_class["tokens"].unique().to_list() == [20 * KEPT // 2]
    picture = plt.imread(study.path("token_curves-linear.png"))
    assert picture.shape[1] == 2_000
    monkeypatch.setattr(predictor, "fit", None)  # a second run fits nothing
    command.main(study.directory, labels=[400, 0], seeds=2, model=["linear"], processes=1)
    assert capsys.readouterr().out == printed
    command.main(study.directory, labels=[0], seeds=1, model=["linear"], processes=1)
    assert "Two classifiers averaged" in printed
    assert "Two classifiers averaged" not in capsys.readouterr().out


def test_the_figure_has_what_the_tables_have():
    metrics = {"model": "mlp", "metric": "auroc", "p": 0.0, "tokens": 5_000}
    places = {"labels": [1_000, 0], "value": [0.6, 0.7]}
    names = (*figure.WITHOUT_HEADS, *figure.WITH_HEADS)
    areas = [pl.DataFrame(places).with_columns(features=pl.lit(name), syntax=pl.lit(ALL)) for name in names]
    added = pl.DataFrame({"value": [0.01, -0.02], "syntax": ["eol", ALL]}).with_columns(
        labels=pl.lit(0, pl.Int64)
    )
    gains = [
        added.with_columns(features=pl.lit(name), difference_from=pl.lit("strong")) for name in figure.ADDED
    ]
    levels = [table.with_columns(difference_from=pl.lit("")) for table in areas]
    curves = pl.concat([*levels, *gains], how="diagonal").with_columns(
        low=pl.col("value") - 0.001,
        high=pl.col("value") + 0.001,
        **{name: pl.lit(value) for name, value in metrics.items()},
    )
    left, right = figure.figure(curves, "mlp", 40_000).axes
    assert [line.get_xdata().tolist() for line in left.lines] == [[1_000, 40_000]] * len(names)
    marks = [line for line in right.lines if line.get_marker() != "None"]
    assert [sorted(mark.get_xdata()) for mark in marks] == [[-0.02, 0.01]] * 2
    assert {label.get_text() for label in right.get_yticklabels()} == {"all", "eol"}


def test_fewer_labels_are_part_of_more_and_come_in_whole_windows(study):
    tokens = columns.Tokens.of(study)
    few, more, every = (set(cells.labelled_rows(tokens, count, 0).tolist()) for count in (100, 400, 0))
    assert (len(few), len(more)) == (100, 400)
    assert few < more < every == set(tokens.rows("train").tolist())
    windows = tokens.table["window"].to_numpy()[sorted(more)]
    assert sorted(np.unique(windows, return_counts=True)[1])[1:] == [KEPT] * 12
    assert few != set(cells.labelled_rows(tokens, 100, 1).tolist())


def test_the_rate_of_a_training_token_leaves_its_own_group_out():
    training = pl.DataFrame(
        {
            "group": ["a", "a", "b", "b"],
            "correct": [True, True, False, True],
            "weight": [1.0, 1.0, 2.0, 2.0],
            "predicted_id": [7, 7, 7, 8],
        }
    )
    new = pl.DataFrame({"group": ["c", "c"], "predicted_id": [7, 9]})
    prior = 4 / 6

    def expected(right, count):
        rate = (right + 20 * prior) / (count + 20)
        return [np.log(rate / (1 - rate)), np.log1p(count)]

    found = columns._rates(training, training, "predicted_id")
    np.testing.assert_allclose(
        found, [expected(0, 2), expected(0, 2), expected(2, 2), expected(0, 0)], rtol=1e-5
    )
    found = columns._rates(training, new, "predicted_id")
    np.testing.assert_allclose(found, [expected(2, 4), expected(0, 0)], rtol=1e-5)


def test_a_study_without_tokens_is_refused(tmp_path):
    empty = Study.create(tiny_config(tmp_path / "run"))
    with pytest.raises(ApmaeError, match="the stage tokens is not done: run `apmae tokens`"):
        command.main(empty.directory)


def test_a_pair_is_the_mean_of_two_seeds_and_is_compared_with_a_pair_without_attention():
    generator = np.random.default_rng(0)
    chosen = list(cells.cells_of([0], 2, ["mlp"]))
    log_odds = {cell: generator.normal(size=5) for cell in chosen}
    found = pairs.averages(log_odds)
    first, second = (log_odds[cells.Cell("strong", "mlp", 0, seed)] for seed in (0, 1))
    attention = log_odds[cells.Cell("confidence+rows", "mlp", 0, 1)]
    np.testing.assert_allclose(found[Kind("strong & strong", "mlp")][0], (first + second) / 2)
    np.testing.assert_allclose(found[Kind("strong & confidence+rows", "mlp")][0], (first + attention) / 2)
    assert {len(seeds) for seeds in found.values()} == {2}
    assert len(found) == len(pairs.FIRST) * (1 + len(pairs.WITH_ATTENTION))
    assert pairs.control_of("strong & confidence+rows") in pairs.CONTROLS
    assert not pairs.averages({cell: odds for cell, odds in log_odds.items() if cell.seed == 0})
