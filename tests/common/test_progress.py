"""Progress passes items through and says how far the work is."""

import re
import time

import pytest

from apmae.common import progress


@pytest.mark.parametrize("shown", [progress.silent, progress.console])
def test_every_item_passes_through_in_order(shown):
    assert list(shown(iter([3, 1, 2]), "work", 3)) == [3, 1, 2]


def log_of(capsys, items, *arguments, **options):
    list(progress.console(items, *arguments, **options))
    return capsys.readouterr().err.splitlines()


def test_a_log_says_at_once_where_an_earlier_run_stopped_and_at_last_how_long_it_took(capsys):
    lines = log_of(capsys, ["a", "b"], "encode", 5, done=3)
    assert lines == ["encode: 3/5", "encode: 5/5, 0 s"]
    assert log_of(capsys, [0], "encode", done=3)[0] == "encode: 3/4"  # a sized work tells its total


def test_a_log_goes_on_while_one_item_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0.05)
    slow = (time.sleep(seconds) for seconds in (0.1, 0.6))
    first, *between, last = log_of(capsys, slow, "train", 4, done=1, status=lambda: "loss 0.1")
    assert (first, last) == ("train: 1/4", "train: 3/4, 1 s")
    assert len(between) > 5
    pattern = r"train: 2/4, [\d.]+/(s|min), \d+ s left, loss 0.1"
    assert all(line == "train: 1/4" or re.fullmatch(pattern, line) for line in between)
    assert re.fullmatch(pattern, between[-1])


def test_work_that_goes_on_behind_its_last_item_does_not_end_in_no_time(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0.05)

    def items():
        yield 0
        time.sleep(0.3)

    _, *between, _ = log_of(capsys, items(), "prompts", 1, status=lambda: "pairing eol")
    assert between
    assert all(re.fullmatch(r"prompts: 1/1, [\d.]+/(s|min), pairing eol", line) for line in between)


def test_the_innermost_block_speaks_and_the_outer_one_afterwards(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0.05)
    with progress.reporting(lambda: "outer"):
        time.sleep(0.2)
        with progress.reporting(lambda: "inner"):
            time.sleep(0.2)
        time.sleep(0.2)
    time.sleep(0.2)  # nobody speaks any more
    said = capsys.readouterr().err.split()
    changes = [line for line, before in zip(said, ["", *said], strict=False) if line != before]
    assert changes == ["outer", "inner", "outer"]
    assert len(said) <= 14
