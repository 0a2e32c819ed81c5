"""Hostile use: the brief of benchmarks/hostile.py, whose figures stand in results/hostile.md."""

import hostile


def test_bad_command_lines_are_one_line_and_leave_nothing(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = hostile.bad_lines(40, seed=3)
    assert found.pop("lines") == 40
    assert set(found.values()) == {0}


def test_damaged_checkpoints_are_refused(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = hostile.damaged_checkpoints(20, seed=1)
    assert found["files"] == 43
    assert found["refused"] + found["loaded as it was"] == 43
    assert found["executed"] == found["other errors"] == found["loaded otherwise"] == 0
