"""Benchmarks: what they keep, how two of them are compared, and that each of them runs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compare import compare, main
from figures import Figures, Row, in_turns, rows

FOLDER = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")
TAKEN = {"torch": [2.0, 1.0, 4.0, 3.0, 2.0], "ours": [3.0, 2.0, 4.4, 9.0, 5.0]}


def figures(**ratios):
    made = [Row("digits", name, 1.0, ratio, (ratio, ratio)) for name, ratio in ratios.items()]
    return Figures.of("step", made, {"rounds": 3, "to": Path("x")}, CPU)


def test_a_ratio_is_the_median_of_the_rounds_own():
    first, second = rows("digits", TAKEN, {"ours": {"first_s": 0.5}})
    ratios = np.divide(TAKEN["ours"], TAKEN["torch"])
    assert (first.ratio, first.interval, first.also) == (1.0, (1.0, 1.0), {})
    assert second.ratio == np.median(ratios)
    assert second.interval == tuple(np.quantile(ratios, [0.25, 0.75]))
    assert second.ms == 1e3 * np.median(TAKEN["ours"])
    assert second.also == {"first_s": 0.5}


def test_contenders_take_turns():
    turns = []
    works = {name: lambda name=name: turns.append(name) for name in "ab"}
    assert [len(taken) for taken in in_turns(works, 2, CPU).values()] == [2, 2]
    assert "".join(turns) == "ab" * 3


def test_what_is_written_is_read(tmp_path):
    made = figures(torch=1.0, ours=1.5)
    made.write(tmp_path / "folder/step.json")
    read = Figures.read(tmp_path / "folder/step.json")
    assert read == made
    assert read.settings == {"rounds": 3}
    assert read.environment["torch"] == torch.__version__


def test_rows_that_got_worse_by_a_tenth_are_marked(capsys, monkeypatch, tmp_path):
    before = figures(torch=1.0, slower=2.0, steady=2.0, faster=2.0, gone=1.0)
    after = figures(torch=1.0, slower=2.21, steady=2.19, faster=1.0, new=9.0)
    assert compare(before, after)[1] == 1
    before.write(tmp_path / "a.json")
    after.write(tmp_path / "b.json")
    monkeypatch.setattr(sys, "argv", ["compare.py", *(str(tmp_path / f"{k}.json") for k in "ab")])
    assert main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines if "worse │" in line] == ["slower"]
    shown = {line.split()[3]: line for line in lines if line.startswith("│")}
    assert "1.10" in shown["slower"]
    assert "0.50" in shown["faster"]
    assert {"gone", "new"} < set(shown)


def test_figures_of_two_benchmarks_are_not_compared():
    with pytest.raises(ValueError, match="of one benchmark: step and epoch"):
        compare(figures(torch=1.0), replace(figures(torch=1.0), benchmark="epoch"))


BRIEF = {
    "step": (["--shapes", "digits", "--rounds", "1"], "EntropySGD, Gaussian noise, Nesterov"),
    "epoch": (["--samples", "256", "--rounds", "1"], "EntropyAdam"),
    "graph": (["--networks", "digits", "--rounds", "1"], "EntropySGD, GraphedStep"),
    "hessian": (["--networks", "mnistfc", "--samples", "64", "--rounds", "1"], "Hessian @ v"),
    "state": (["--seeds", "2", "--epochs", "1"], "EntropyAdam, bfloat16"),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BRIEF)
def test_a_brief_run_keeps_its_figures(name, tmp_path):
    flags, contender = BRIEF[name]
    file = tmp_path / f"{name}.json"
    command = [sys.executable, str(FOLDER / f"{name}.py"), *flags, "--to", str(file)]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    found = Figures.read(file)
    assert found.benchmark == name
    assert {row.name: row for row in found.rows}[contender].ratio > 0
    assert all(row.ms > 0 for row in found.rows)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_others_end_where_one_worker_is_frozen(tmp_path):
    """As processes: gloo's own destructor waits for it, half an hour."""
    command = [sys.executable, str(FOLDER / "faults.py"), "--only", "stopped"]
    subprocess.run([*command, "--to", str(tmp_path / "faults.md")], check=True, cwd=tmp_path)
    assert "| stopped, neither dead nor alive | ended |" in (tmp_path / "faults.md").read_text()
