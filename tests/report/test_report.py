"""Tables, curves and results folders, from run folders written by hand."""

import json
import math
import random

import pytest
from rich.console import Console

from widevalley.report import (
    diverged_in,
    find_groups,
    markdown_table,
    rich_table,
    run_cells,
    write_results,
)
from widevalley.report.copied_runs import copy_runs
from widevalley.report.groups import Summary, summarise
from widevalley.training import RunFolder

START = {
    "widevalley": "0.1.0",
    "commit": "0123456789abcdef+",
    "python": "3.12.0",
    "torch": "2.13.0",
    "platform": "Linux",
    "device": "a processor",
    "threads": 1,
    "command": "widevalley compare digits --seeds 3",
}


def write_run(root, optimizer, seed, errors, *, final=True, holdout=0):
    split = "validation" if holdout else "test"
    folder = RunFolder(root / optimizer / f"seed-{seed}")
    settings = {"recipe": "digits", "optimizer": {"name": optimizer}, "seed": seed}
    folder.start({**settings, "holdout": holdout}, START)
    for k, error in enumerate(errors, 1):
        record = {"gradients": 100 * k, f"{split}_error": error, f"{split}_loss": error / 10}
        last = {"final": True} if final and k == len(errors) else {}
        folder.append({**record, "train_loss": 0.1, "seconds": 2.0 * k, **last})
    (folder.path / "checkpoint.pt").write_bytes(b"large")


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    for seed, error in enumerate([4.0, 5.0, 6.0]):
        write_run(root, "sgd", seed, [20.0, 10.0, error])
        write_run(root, "entropy-sgd", seed, [30.0, 10.0, error - 2])
    write_run(root, "adam", 0, [20.0, 10.0], final=False)
    return root


def test_summary_is_mean_and_standard_error():
    summary = summarise([4.0, 5.0, 6.0])
    assert summary.mean == 5
    assert summary.error == pytest.approx(1 / math.sqrt(3))
    assert summary.shown(2) == "5.00 ± 0.58"
    assert summarise([4.0]).shown(1) == "4.0"
    assert math.isnan(summarise([4.0]).error)
    assert isinstance(summary, Summary)


def test_the_table_holds_finished_runs_best_first(runs):
    groups = find_groups(runs)
    assert markdown_table(run_cells(groups)).splitlines() == [
        "| run | seeds | test error, % | test loss, nats | gradients | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| entropy-sgd | 3 | 3.00 ± 0.58 | 0.3000 ± 0.0577 | 300 | 6.0 |",
        "| sgd | 3 | 5.00 ± 0.58 | 0.5000 ± 0.0577 | 300 | 6.0 |",
    ]


def test_the_terminal_table_fits_80_columns_uncut(runs):
    console = Console(width=80, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(rich_table(run_cells(find_groups(runs)), "title"))
    text = capture.get()
    for cell in ("entropy-sgd", "5.00 ± 0.58", "0.5000 ± 0.0577", "gradients", "seconds"):
        assert cell in text


def test_validation_is_called_so(tmp_path):
    write_run(tmp_path, "sgd", 0, [3.0], holdout=297)
    assert "| validation error, % | validation loss, nats |" in markdown_table(
        run_cells(find_groups(tmp_path))
    )


def test_runs_with_held_out_samples_stand_beside_runs_without(tmp_path):
    write_run(tmp_path / "runs", "sgd", 0, [9.0, 3.0], holdout=297)
    write_run(tmp_path / "runs", "adam", 0, [8.0, 2.0])
    groups = find_groups(tmp_path / "runs")
    table, curves = write_results(groups, "digits", tmp_path / "out")
    assert "| test or validation error, % |" in table.read_text()
    assert curves.stat().st_size > 1000


def test_results_keep_everything_but_checkpoints(runs, tmp_path):
    target = tmp_path / "results"
    table, curves = write_results(find_groups(runs), "Digits", target)
    assert curves.read_bytes().startswith(b"\x89PNG")
    text = table.read_text()
    assert text.startswith("# Digits\n")
    assert text.count("widevalley compare digits --seeds 3") == 1
    assert "widevalley 0.1.0 (0123456789ab+), python 3.12.0, torch 2.13.0, a processor" in text
    for kept in ("config.json", "environment.json", "metrics.jsonl"):
        name = f"entropy-sgd/seed-2/{kept}"
        assert (target / name).read_bytes() == (runs / name).read_bytes()
    assert not list(target.rglob("checkpoint.pt"))
    assert not (target / "adam").exists()


def test_results_report_on_themselves(runs, tmp_path):
    target = tmp_path / "results"
    table, _ = write_results(find_groups(runs), "Digits", target)
    before = table.read_text()
    write_results(find_groups(target), "Digits", target)
    assert table.read_text() == before


def test_results_of_other_settings_are_not_overwritten(runs, tmp_path):
    target = tmp_path / "results"
    write_results(find_groups(runs), "Digits", target)
    config = target / "sgd/seed-1/config.json"
    config.write_text(json.dumps({"recipe": "other"}))
    files = {f: f.read_bytes() for f in target.rglob("*") if f.is_file()}
    with pytest.raises(ValueError, match=r"seed-1 holds a run of other settings"):
        write_results(find_groups(runs), "Digits", target)
    assert files == {f: f.read_bytes() for f in target.rglob("*") if f.is_file()}


def test_seeds_are_in_numeric_order(tmp_path):
    seeds = list(range(12))
    random.Random(0).shuffle(seeds)
    for seed in seeds:
        write_run(tmp_path, "sgd", seed, [1.0])
    assert [f.config["seed"] for f in find_groups(tmp_path)[0].folders] == list(range(12))


def test_no_finished_run_is_said(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        find_groups(tmp_path)


def test_a_split_may_be_chosen(tmp_path):
    folder = RunFolder(tmp_path / "runs/best/seed-0")
    folder.start({"recipe": "charlstm", "optimizer": {"name": "adam"}}, START)
    nats = {"test_loss": 1.3, "test_bits": 1.9, "validation_loss": 1.2, "validation_bits": 1.7}
    folder.append({"gradients": 10, "seconds": 1.0, "train_loss": 1.0, "final": True, **nats})
    heads, (row,) = run_cells(find_groups(tmp_path / "runs", split="validation"))
    assert heads[2] == "validation nats a character"
    assert row[2] == "1.2000"
    assert run_cells(find_groups(tmp_path / "runs"))[1][0][2] == "1.3000"
    write_run(tmp_path / "tested", "sgd", 0, [9.0, 3.0])
    with pytest.raises(ValueError, match="split=validation: sgd was not evaluated on it"):
        find_groups(tmp_path / "tested", split="validation")


def test_runs_that_diverged_are_told_and_kept(runs, tmp_path):
    lost = runs / "sgd-10" / "seed-0"
    lost.mkdir(parents=True)
    (lost / "config.json").write_text("{}")
    assert not diverged_in(runs)
    RunFolder(lost).record_divergence(20)
    table, _ = write_results(find_groups(runs), "Digits", tmp_path / "kept", diverged_in(runs))
    assert "| sgd-10 | 1 | diverged |" in table.read_text()
    assert diverged_in(tmp_path / "kept")[0].path == tmp_path / "kept/sgd-10/seed-0"


def test_a_run_made_again_is_no_longer_one_that_diverged(runs, tmp_path, monkeypatch):
    target = tmp_path / "results"
    write_results(find_groups(runs), "Digits", target)
    RunFolder(target / "sgd/seed-1").record_divergence(5)
    write_results(find_groups(runs), "Digits", target)
    assert not RunFolder(target / "sgd/seed-1").diverged
    monkeypatch.chdir(tmp_path)
    (group, *_) = find_groups(target)
    source = RunFolder(group.folders[0].path.relative_to(tmp_path))
    copy_runs({source: group.folders[0].path})
    assert source.finished
