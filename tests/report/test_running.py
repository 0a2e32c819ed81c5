"""Runs as they train, seen from outside."""

import json
import os

from widevalley import cli
from widevalley.report import running_cells
from widevalley.training import RunFolder


def run_folder(path, records, age=0.0):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"recipe": "digits", "epochs": 10.0}))
    for epoch in range(1, records + 1):
        last = {"gradients": epoch, "epoch": epoch, "train_loss": 0.5, "seconds": 60.0 * epoch}
        last |= {"test_loss": 0.4, "test_error": 8.125} | ({"final": True} if epoch == 10 else {})
        RunFolder(path).append(last)
    for file in path.iterdir():
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    return RunFolder(path)


def test_a_row_says_how_far_a_run_is(tmp_path):
    run_folder(tmp_path / "a" / "seed-0", 10)
    run_folder(tmp_path / "deep" / "b" / "seed-0", 4, age=60.0)
    run_folder(tmp_path / "c" / "seed-0", 4, age=1000.0)
    run_folder(tmp_path / "d" / "seed-0", 0, age=30.0)
    run_folder(tmp_path / "e" / "seed-0", 1).record_divergence(7)
    (heads, rows), ended = running_cells(tmp_path)
    assert heads[0] == "run"
    assert not ended
    said = {row[0]: row[1:] for row in rows}
    assert said["deep/b/seed-0"] == ["train 0.500 error 8.12 %", "4.0/10", "0:05:00 left"]
    assert said["c/seed-0"][2] == "silent 0:16:40"
    assert said["d/seed-0"] == ["", "0.0/10", "silent 0:00:30"]
    assert said["e/seed-0"][2] == "diverged"
    assert said["a/seed-0"][2] == "finished after 0:10:00"
    assert [row[0] for row in rows][-2:] == ["a/seed-0", "e/seed-0"]  # those that train come first


def test_a_run_before_its_first_record_is_not_silent_while_it_writes_checkpoints(tmp_path):
    folder = run_folder(tmp_path / "a" / "seed-0", 0, age=300.0).path
    config = {"recipe": "digits", "epochs": 10.0, "checkpoint_every": 30.0}
    (folder / "config.json").write_text(json.dumps(config))
    os.utime(folder / "config.json", (os.stat(folder).st_mtime - 300.0,) * 2)
    checkpoint = folder / "checkpoint.pt"
    for age, said in ((40.0, "begun 0:05:00 ago"), (200.0, "silent 0:03:20")):
        checkpoint.touch()
        os.utime(checkpoint, (checkpoint.stat().st_mtime - age,) * 2)
        (_, (row,)), _ = running_cells(tmp_path)
        assert row[-1] == said


def test_one_run_and_none(tmp_path, capsys):
    run_folder(tmp_path / "sgd" / "seed-0", 10)
    (_, rows), ended = running_cells(tmp_path / "sgd" / "seed-0")
    assert ended
    assert rows[0][0] == "seed-0"
    assert cli.main(["watch", str(tmp_path)]) == 0
    assert "sgd/seed-0" in capsys.readouterr().out
    for arguments, said in (
        ([str(tmp_path / "none")], "neither a run folder nor one with runs"),
        ([str(tmp_path), "--every", "0"], "every=0.0: must be at least 0.1 seconds"),
    ):
        assert cli.main(["watch", *arguments]) == 2
        assert said in capsys.readouterr().err
