"""The report of a tournament, from made-up run folders."""

import json
import math

import pytest
from scipy import stats

from widevalley.cli import main
from widevalley.report.evidence import paired
from widevalley.report.tournament_table import Tournament, result_cells, write_tournament

PLACE = {"versions": {}, "widevalley": "1", "commit": None, "python": "3", "torch": "2"}
PLACE |= {"device": "cpu", "threads": 1, "platform": "x", "command": "c", "peak_bytes": 2**20}
RESULTS = {
    "adamw": [0.30, 0.32, 0.31, 0.35],
    "sgd": [0.25, 0.28, 0.25, 0.30],
    "muon": [0.31, 0.31, 0.32, 0.35],
}
TRIALS = {"adamw": [0.4, 0.43, 0.9], "sgd": [0.39, math.inf], "muon": [0.5, 0.6]}


def put(folder, name, seed, record):
    folder.mkdir(parents=True)
    optimizer = {"name": name, "lr": 0.1}
    config = {"recipe": "digits", "seed": seed, "optimizer": optimizer}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "environment.json").write_text(json.dumps([PLACE]))
    if record is None:
        (folder / "diverged.json").write_text('{"gradients": 3}')
    else:
        lines = [{**record, "gradients": at, "final": at == 40} for at in (20, 40)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "digits-40"
    for name, losses in RESULTS.items():
        for seed, loss in enumerate(losses, start=1):
            record = {"test_loss": loss, "test_error": 100 * loss / 10, "test_ece": 1.0}
            record |= {"seconds": 2.0, "state_bytes": 2048, "train_loss": 0.1}
            put(root / name / f"seed-{seed}", name, seed, record)
        for k, loss in enumerate(TRIALS[name]):
            record = {"validation_loss": loss} if math.isfinite(loss) else None
            put(root / "trials" / name / f"optimizer.lr={k}" / "seed-0", name, 0, record)
    space = {"field": "optimizer.lr", "scale": "log", "values": [0.01, 1]}
    row = {"space": [space], "said": ["lr 0.01 to 1 (log)"]}
    decided = {"task": "digits", "budget": 40, "criterion": "loss", "trials": 3, "seeds": 4}
    decided["methods"] = dict.fromkeys(RESULTS, row)
    (root / "tournament.json").write_text(json.dumps(decided))
    return root


def test_the_interval_is_that_of_a_paired_t_test():
    ours, theirs = RESULTS["adamw"], RESULTS["sgd"]
    found = paired(dict(enumerate(ours)), dict(enumerate(theirs)))
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.middle == pytest.approx(sum(ours) / 4 - sum(theirs) / 4)


def test_only_shared_seeds_are_paired():
    found = paired({1: 5.0, 2: 7.0, 9: 100.0}, {2: 4.0, 1: 1.0, 8: 100.0})
    assert found.middle == 3.5
    assert math.isinf(paired({1: 5.0}, {1: 4.0}).high)
    with pytest.raises(ValueError, match="seeds: none is shared"):
        paired({1: 5.0}, {2: 5.0})


def test_rows_are_ranked_and_say_how_easily_each_was_tuned(folder):
    heads, rows = result_cells(Tournament(folder))
    table = {row[0]: dict(zip(heads, row)) for row in rows}
    assert list(table) == ["sgd", "adamw", "muon"]
    assert table["sgd"]["loss, nats"] == "0.2700 ± 0.0122"
    assert table["adamw"]["trials"] == "3"
    assert table["adamw"]["near own best"] == "67 %"  # 0.4 and 0.43 of 0.4, 0.43, 0.9
    assert table["adamw"]["near best of all"] == "33 %"  # 0.4 alone is within 0.429
    assert table["sgd"]["near own best"] == "50 %"
    assert table["muon"]["near best of all"] == "0 %"
    assert (table["muon"]["MiB"], table["muon"]["state, KiB"]) == ("1", "2")


def test_a_copy_says_what_the_runs_say(folder, tmp_path):
    table, *pictures = write_tournament(folder)
    to = tmp_path / "results"
    copied, *_ = write_tournament(folder, to)
    assert copied.read_text() == table.read_text()
    assert write_tournament(to)[0].read_text() == table.read_text()
    assert not (to / "trials").exists()
    assert all(picture.stat().st_size > 1000 for picture in pictures)
    text = table.read_text()
    expected = stats.ttest_rel(RESULTS["adamw"], RESULTS["sgd"]).confidence_interval(0.95)
    assert f"| adamw | **+0.0500 ({expected.low:+.4f} to {expected.high:+.4f})** |" in text
    assert "| muon | lr 0.01 to 1 (log) | lr 0.1 |" in text


def test_diverged_seeds_are_counted(folder):
    put(folder / "muon" / "seed-5", "muon", 5, None)
    _, rows = result_cells(Tournament(folder))
    assert rows[-1][:3] == ["muon", "1", "diverged"]


def test_methods_without_a_finished_run_are_named(folder):
    decided = json.loads((folder / "tournament.json").read_text())
    decided["methods"]["lookahead-adamw"] = decided["methods"]["sgd"]
    (folder / "tournament.json").write_text(json.dumps(decided))
    _, rows = result_cells(Tournament(folder))
    assert rows[-1][:3] == ["lookahead-adamw", "0", "not at its end"]


def test_report_shows_a_tournament(folder, capsys):
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "near best of all" in out
    assert f"written: {folder / 'table.md'}" in " ".join(out.split())


def test_compare_with_methods_is_a_tournament(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["--methods", "sgd,adamw", "--budget", "20", "--trials", "2", "--seeds", "2"]
    assert main(["compare", "digits", *asked]) == 0
    assert "near best of all" in capsys.readouterr().out
    assert (tmp_path / "runs/tournament/digits-20/table.md").is_file()
    assert main(["report", "runs/tournament/digits-20", "--to", "kept"]) == 0
    assert (tmp_path / "kept/sgd/seed-2/metrics.jsonl").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "ptb", "--methods", "sgd"], "no tournament of 'ptb'; there are digits"),
        (["compare", "digits", "--methods", "lion"], "method 'lion': there are sgd"),
        (["compare", "digits", "--trials", "0"], "trials=0: must be at least 1"),
    ],
)
def test_misuse_is_one_line_and_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert message in errors
    assert list(tmp_path.iterdir()) == []
