"""Progress passes items through and says how far the work is."""

import pytest

from apmae import progress


@pytest.mark.parametrize("track", [progress.silent, progress.console])
def test_every_item_passes_through_in_order(track):
    assert list(track(iter([3, 1, 2]), "work", 3)) == [3, 1, 2]


def test_a_log_counts_what_an_earlier_run_did(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0)
    list(progress.console(["a", "b"], "encode", 5, done=3, status=lambda: "loss 0.1"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["encode: 4/5, 0 min left loss 0.1", "encode: 5/5, 0 min left loss 0.1"]


def test_the_total_of_a_sized_work_counts_what_was_done(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0)
    list(progress.console([0], "encode", done=3))
    assert capsys.readouterr().err == "encode: 4/4, 0 min left\n"
