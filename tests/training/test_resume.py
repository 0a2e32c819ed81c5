"""A run that is killed, interrupted or stopped anywhere ends as one that is not."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from filelock import FileLock

from widevalley.training import (
    AdamSettings,
    EntropyAdamSettings,
    EntropySGDSettings,
    Interrupted,
    RunBusy,
    RunConfig,
    RunConflict,
    RunFolder,
    RunProgress,
    SGDSettings,
    SGLDSettings,
    run,
)
from widevalley.training import runner as runner_module
from widevalley.training.folder import OLDER_DEFAULTS

from .conftest import assert_same_end

OPTIMIZERS = [
    EntropySGDSettings(langevin_steps=7),
    EntropyAdamSettings(langevin_steps=7),
    SGDSettings(),
    AdamSettings(),
    SGLDSettings(),
]


class Stop(Exception):
    pass


def stop_before(monkeypatch, gradients):
    """Make the loop raise instead of taking step number `gradients` + 1."""
    step = runner_module.Loop.step

    def stopping(loop):
        if loop.gradients == gradients:
            raise Stop
        step(loop)

    monkeypatch.setattr(runner_module.Loop, "step", stopping)


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: settings.name)
@pytest.mark.parametrize(
    "gradients", [25, 40, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 119))]
)
def test_resumes_bit_for_bit(
    monkeypatch, task, config, uninterrupted, tmp_path, settings, gradients
):
    config = replace(config, optimizer=settings, checkpoint_every=0.0)
    whole = uninterrupted(task, config)
    with monkeypatch.context() as patch:
        stop_before(patch, gradients)
        with pytest.raises(Stop):
            run(task, config, tmp_path / "parts")
    assert_same_end(whole, run(task, config, tmp_path / "parts"))


def test_starts_over_where_no_checkpoint_was_written(
    monkeypatch, task, config, uninterrupted, tmp_path
):
    whole = uninterrupted(task, config)
    with monkeypatch.context() as patch:
        stop_before(patch, 77)
        with pytest.raises(Stop):
            run(task, config, tmp_path / "parts")
    assert len(RunFolder(tmp_path / "parts").records) == 3
    assert_same_end(whole, run(task, config, tmp_path / "parts"))


def test_a_metrics_line_cut_short_is_dropped(monkeypatch, task, config, uninterrupted, tmp_path):
    config = replace(config, checkpoint_every=0.0)
    whole = uninterrupted(task, config)
    with monkeypatch.context() as patch:
        stop_before(patch, 77)
        with pytest.raises(Stop):
            run(task, config, tmp_path / "parts")
    with (tmp_path / "parts/metrics.jsonl").open("a") as file:
        file.write('{"gradients": 80, "test_er')
    assert not RunFolder(tmp_path / "parts").finished
    assert_same_end(whole, run(task, config, tmp_path / "parts"))


def test_killed_between_the_last_checkpoint_and_the_last_record(
    task, config, uninterrupted, tmp_path
):
    whole = uninterrupted(task, config)
    parts = run(task, config, tmp_path / "parts")
    metrics = parts.path / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    assert not parts.finished
    assert_same_end(whole, run(task, config, tmp_path / "parts"))


TRAIN = ["train", "digits", "--optimizer", "entropy-sgd", "--epochs", "30"]
TRAIN += ["--optimizer.langevin-steps", "7", "--checkpoint-every", "0.05", "--runs"]


def start(root):
    command = [sys.executable, "-m", "widevalley", *TRAIN, str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(file, process, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finish(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out


@pytest.mark.slow
def test_kill_9_inside_a_walk(tmp_path):
    finish(start(tmp_path / "whole"))
    path = "digits/entropy-sgd/seed-0"
    process = start(tmp_path / "killed")
    wait_for(tmp_path / "killed" / path / "checkpoint.pt", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed = RunFolder(tmp_path / "killed" / path)
    assert process.returncode == -signal.SIGKILL
    assert not killed.finished
    assert 0 < killed.resume()["gradients"] < 1200
    finish(start(tmp_path / "killed"))
    assert len(killed.environments) == 2
    assert_same_end(RunFolder(tmp_path / "whole" / path), killed)


def test_a_run_in_progress_is_refused_to_a_second_process(task, config, tmp_path):
    held = FileLock(tmp_path / ".seed-0.lock")
    with held, pytest.raises(RunBusy, match="another process is at this run"):
        run(task, config, tmp_path / "seed-0")
    assert not (tmp_path / "seed-0").exists()
    assert run(task, config, tmp_path / "seed-0").finished


@pytest.mark.slow
def test_ctrl_c_leaves_a_resumable_run_and_one_line(tmp_path):
    process = start(tmp_path)
    folder = RunFolder(tmp_path / "digits/entropy-sgd/seed-0")
    wait_for(folder.path / "checkpoint.pt", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.count("\n") == 1
    assert "the same command goes on" in errors
    assert not folder.finished
    finish(start(tmp_path))
    assert folder.finished


def test_ctrl_c_writes_a_checkpoint_of_the_very_step(task, config, uninterrupted, tmp_path):
    class PressCtrlC(RunProgress):
        def record(self, record):
            if record["gradients"] == 60:
                os.kill(os.getpid(), signal.SIGINT)

    whole = uninterrupted(task, config)
    with pytest.raises(Interrupted, match=r"stopped at 60 of 120 gradients"):
        run(task, config, tmp_path / "parts", progress=PressCtrlC())
    assert RunFolder(tmp_path / "parts").resume()["gradients"] == 60
    assert_same_end(whole, run(task, config, tmp_path / "parts"))


def test_ctrl_c_amid_the_last_evaluation_ends_what_comes_after(task, config, tmp_path):
    class PressCtrlC(RunProgress):
        def record(self, record):
            if record.get("final"):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="stopped with this run at its end"):
        run(task, config, tmp_path / "run", progress=PressCtrlC())
    assert RunFolder(tmp_path / "run").finished


def test_a_finished_run_is_left_alone(task, config, tmp_path, without_network):
    folder = run(task, config, tmp_path)
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    run(without_network, replace(config, checkpoint_every=1.0), folder.path)
    assert before == {
        file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()
    }


def test_a_run_that_another_process_finished_meanwhile_is_left_alone(
    monkeypatch, task, config, tmp_path
):
    made, contents = runner_module.Loop, []

    def made_while_another_finishes(*given):
        if not contents:
            contents.append("being made")
            run(task, config, tmp_path)
            (tmp_path / "checkpoint.pt").unlink()  # as of a tournament's trials
            contents[:] = [(tmp_path / "metrics.jsonl").read_bytes()]
        return made(*given)

    monkeypatch.setattr(runner_module, "Loop", made_while_another_finishes)
    folder = run(task, config, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_bytes() == contents[0]
    assert folder.finished
    assert len(folder.environments) == 1


def test_other_settings_are_refused_by_name(task, config, tmp_path, without_network):
    run(task, config, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    other = replace(config, epochs=4.0, optimizer=replace(config.optimizer, lr=0.5))
    with pytest.raises(RunConflict) as caught:
        run(without_network, other, tmp_path)
    message = str(caught.value)
    assert message.endswith("epochs 3.0 there, 4.0 now; optimizer.lr 1.0 there, 0.5 now")
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_setting_that_came_later_is_what_it_was_without(task, config, tmp_path, without_network):
    folder = run(task, config, tmp_path)
    older = {name: value for name, value in folder.config.items() if name not in OLDER_DEFAULTS}
    (tmp_path / "config.json").write_text(json.dumps(older))
    run(without_network, config, tmp_path)
    with pytest.raises(RunConflict, match=r"clip 0.0 there, 1.0 now"):
        run(without_network, replace(config, clip=1.0), tmp_path)


def test_what_was_once_absent_has_the_default_of_now():
    plain = RunConfig(optimizer=SGDSettings())
    assert all(getattr(plain, name) == value for name, value in OLDER_DEFAULTS.items())


def test_bad_settings_leave_no_folder(task, config, tmp_path):
    bad = replace(config, optimizer=replace(config.optimizer, gamma=-1.0))
    with pytest.raises(ValueError, match="gamma"):
        run(task, bad, tmp_path / "run")
    with pytest.raises(ValueError, match=r"batch_size=2000: must be at most the 1297"):
        run(task, replace(config, batch_size=2000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_kill_amid_a_checkpoint_left_is_removed(monkeypatch, task, config, tmp_path):
    with monkeypatch.context() as patch:
        stop_before(patch, 77)
        with pytest.raises(Stop):
            run(task, replace(config, checkpoint_every=0.0), tmp_path)
    left = tmp_path / ".checkpoint.pt.0123abcd.part"
    left.write_bytes(b"half of a checkpoint")
    assert run(task, config, tmp_path).finished
    assert not left.exists()


@pytest.fixture
def stopped(monkeypatch, task, config, tmp_path):
    """A run stopped after 77 of its gradients, the last checkpoint a step before."""
    with monkeypatch.context() as patch:
        stop_before(patch, 77)
        with pytest.raises(Stop):
            run(task, replace(config, checkpoint_every=0.0), tmp_path)
    return tmp_path


@pytest.mark.parametrize("at", [0.001, 0.1, 0.3, 0.5, 0.7, 0.999])
def test_a_damaged_checkpoint_is_refused_by_name(task, config, stopped, at):
    file = stopped / "checkpoint.pt"
    whole, records = file.read_bytes(), (stopped / "metrics.jsonl").read_bytes()
    place = int(at * len(whole))
    flipped = whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
    for damaged in (flipped, whole[:place]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"checkpoint\.pt: not a readable checkpoint"):
            run(task, config, stopped)
        assert file.read_bytes() == damaged
        assert (stopped / "metrics.jsonl").read_bytes() == records


def test_a_checkpoint_that_is_a_program_is_not_executed(task, config, stopped):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(stopped / "executed"),)

    torch.save({"model": Bomb()}, stopped / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: not a readable checkpoint"):
        run(task, config, stopped)
    assert not (stopped / "executed").exists()
    torch.save({"model": 1}, stopped / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: not the checkpoint of a run"):
        run(task, config, stopped)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "", "config.json: not JSON"),
        ("config.json", "[1]", "config.json: not the settings of a run"),
        ("environment.json", "{", "environment.json: not JSON"),
        ("metrics.jsonl", "{\n", "metrics.jsonl: not JSON"),
        ("metrics.jsonl", "1\n", "metrics.jsonl: not the metrics of a run"),
        ("metrics.jsonl", "", "metrics.jsonl: cut off before what its checkpoint counts on"),
    ],
)
def test_an_edited_folder_is_refused_by_name(task, config, stopped, file, content, message):
    (stopped / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        run(task, config, stopped)
    assert (stopped / file).read_text() == content


def test_a_checkpoint_of_other_settings_is_refused_by_name(task, config, stopped):
    state = torch.load(stopped / "checkpoint.pt", weights_only=True)
    torch.save({**state, "model": {}}, stopped / "checkpoint.pt")
    with pytest.raises(ValueError, match="its checkpoint is of other settings"):
        run(task, config, stopped)


def test_what_is_left_to_the_machine_is_as_the_run_was_begun(
    task, config, tmp_path, without_network
):
    run(task, replace(config, threads=1, precision="bf16-mixed"), tmp_path)
    run(without_network, replace(config, threads=0, precision="auto"), tmp_path)
    with pytest.raises(RunConflict, match=r"threads 1 there, 2 now"):
        run(without_network, replace(config, threads=2, precision="auto"), tmp_path)


def test_config_says_what_auto_meant(task, config, tmp_path):
    config = replace(config, threads=0)
    folder = run(task, config, tmp_path)
    written = json.loads((folder.path / "config.json").read_text())
    assert written["device"] in ("cpu", "cuda")
    assert written["precision"] == "32-true"
    assert written["threads"] >= 1
