"""Grids and sweeps."""

from dataclasses import replace

import pytest

from widevalley.experiments import RECIPES, grid, sweep
from widevalley.experiments.grid_search import label, set_field

DIGITS = RECIPES["digits"]


@pytest.fixture
def config():
    return replace(DIGITS.config("sgd"), epochs=1.0, holdout=297)


def test_a_grid_is_every_combination_and_changes_nothing_else(config):
    points = grid(config, {"optimizer.lr": [0.1, 0.2], "dropout": [0.0, 0.1, 0.2]})
    assert len({label(point) for point, _ in points}) == 6
    for point, made in points:
        back = set_field(set_field(made, "optimizer.lr", config.optimizer.lr), "dropout", 0.2)
        assert (made.optimizer.lr, made.dropout) == (point["optimizer.lr"], point["dropout"])
        assert back == replace(config, dropout=0.2)


@pytest.mark.parametrize(
    "name", ["nothing", "optimizer", "optimizer.gamma", "optimizer.name", "dropout.lr", "", "."]
)
def test_unknown_fields_are_named(config, name):
    with pytest.raises(ValueError, match=r"sgd runs have no such setting"):
        set_field(config, name, 1.0)


def test_sorts_by_validation_error_and_marks_divergence(config, tmp_path):
    values = {"optimizer.lr": [1e6, 0.1, 1e-4]}
    trials = sweep(DIGITS, "sgd", config, values, 2, tmp_path)
    assert [trial.point["optimizer.lr"] for trial in trials] == [0.1, 1e-4, 1e6]
    assert trials[0].result < 30 < trials[1].result <= 100
    assert trials[2].result == float("inf")
    records = [r for trial in trials for folder in trial.folders for r in folder.records]
    assert all("test_error" not in record for record in records)
    assert [f.path.name for f in trials[0].folders] == ["seed-0", "seed-1"]


def test_finished_trials_are_not_run_again(config, tmp_path):
    first = sweep(DIGITS, "sgd", config, {"optimizer.lr": [0.1]}, 1, tmp_path)
    seconds = first[0].folders[0].records[-1]["seconds"]
    both = sweep(DIGITS, "sgd", config, {"optimizer.lr": [0.1, 0.2]}, 1, tmp_path)
    again = next(trial for trial in both if trial.point["optimizer.lr"] == 0.1)
    assert again.folders[0].records[-1]["seconds"] == seconds
    assert len(again.folders[0].environments) == 1


def test_the_test_set_never_judges(config, tmp_path):
    with pytest.raises(ValueError, match=r"holdout=0: a sweep must not be evaluated on the test"):
        sweep(DIGITS, "sgd", replace(config, holdout=0), {"dropout": [0.1]}, 1, tmp_path)
