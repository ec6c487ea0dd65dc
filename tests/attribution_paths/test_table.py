"""The table of paths on a tiny target: its rows, and that more parts come nearer."""

import polars as pl
from helpers.studies import random_prompts, tiny_study

from apmae.target_model import Target
from experiments.attribution_paths import __main__ as attribution_paths


def test_a_row_for_every_task_and_path(llama, tmp_path, monkeypatch, capsys):
    third = pl.int_range(pl.len()) // 2 % 3 == 0
    prompts = random_prompts(count=40).with_columns(
        split=pl.when(third).then(pl.lit("test")).otherwise(pl.lit("train"))
    )
    study = tiny_study(tmp_path, prompts)
    monkeypatch.setattr(Target, "from_config", lambda _config: llama)
    attribution_paths.main(study.directory, None, 3)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("| eol", "| identifiers"))
    ]
    assert [row[0] for row in rows] == ["eol"] * 4 + ["identifiers"] * 4
    assert [row[2] for row in rows[:4]] == ["1", "4", "8", "16"]
    for parted in (rows[3], rows[7]):
        assert float(parted[3]) > 0.9
