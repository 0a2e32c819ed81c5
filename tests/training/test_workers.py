"""Several processes train one run: the numbers of one, and what becomes of one that is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from unittest.mock import Mock, patch

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import (
    ChildFailedError,
    ErrorHandler,
    ProcessFailure,
)

from widevalley.cli.launch import _order, launch
from widevalley.cli.verb import CRASHED
from widevalley.training import RunConfig, RunFolder, SGDSettings, WorkerFailed
from widevalley.training.loop import Loop
from widevalley.training.workers import Workers, respread

WALK = ("--optimizer", "entropy-sgd", "--optimizer.langevin-steps", "7", "--workers", "2")


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def start(runs, *flags, epochs="6", by=()):
    arguments = ("train", "digits", "--epochs", epochs, "--runs", str(runs), *flags)
    return subprocess.Popen(
        [sys.executable, *by, "-m", "widevalley", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train(runs, *flags, epochs="6"):
    process = start(runs, *flags, epochs=epochs)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def folder(runs, name="entropy-sgd"):
    return RunFolder(runs / "digits" / name / "seed-0")


def weights(runs, name="entropy-sgd"):
    return folder(runs, name).checkpoint()["model"]


def process_of(rank, runs):
    """The process id of a worker that trains there."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as a, open(f"/proc/{pid}/cmdline", "rb") as b:
                environment, command = a.read().split(b"\0"), b.read()
        except OSError:
            continue
        if f"RANK={rank}".encode() in environment and str(runs).encode() in command:
            return int(pid)
    raise AssertionError("no such worker")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    code, said = train(runs, *WALK, epochs="20")
    assert (code, said) == (0, ""), said
    return weights(runs)


@pytest.mark.slow
def test_averaged_gradients_are_those_of_one_process(tmp_path):
    flags = ("--optimizer", "sgd", "--dropout", "0", "--sync", "step", "--threads", "1")
    for workers in ("1", "2"):
        code, said = train(tmp_path / workers, *flags, "--workers", workers, epochs="2")
        assert code == 0, said
    one, two = (weights(tmp_path / workers, "sgd") for workers in ("1", "2"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-4)
    assert not any(torch.equal(two[name], weight) for name, weight in one.items())
    ends = [folder(tmp_path / workers, "sgd").records[-1] for workers in ("1", "2")]
    assert ends[0]["train_loss"] == pytest.approx(ends[1]["train_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds workers by /proc")
def test_a_killed_worker_is_named_and_the_same_command_goes_on(tmp_path, uninterrupted):
    """To the same bits; the others end with it."""
    process = start(tmp_path, *WALK, "--checkpoint-every", "0.01", epochs="20")
    while not (folder(tmp_path).path / "checkpoint.pt").exists():
        time.sleep(0.05)
    other = process_of(0, tmp_path)
    os.kill(process_of(1, tmp_path), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.strip() == (
        "widevalley: worker 1 of 2: killed by SIGKILL; "
        "the same command goes on from the last checkpoint"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)
    assert not folder(tmp_path).finished
    assert train(tmp_path, *WALK, epochs="20") == (0, "")
    ours = weights(tmp_path)
    assert all(torch.equal(ours[name], weight) for name, weight in uninterrupted.items())


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds workers by /proc")
def test_torchrun_starts_killed_workers_again(tmp_path, uninterrupted):
    """From the last checkpoint, to the same bits."""
    by = ("-m", *TORCHRUN, "--max-restarts", "1")
    process = start(tmp_path, *WALK, "--checkpoint-every", "0.01", epochs="20", by=by)
    while not (folder(tmp_path).path / "checkpoint.pt").exists():
        time.sleep(0.05)
    os.kill(process_of(1, tmp_path), signal.SIGKILL)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert "exitcode: -9" in said  # torchrun's word for what it saw
    ours = weights(tmp_path)
    assert all(torch.equal(ours[name], weight) for name, weight in uninterrupted.items())


@pytest.mark.slow
def test_interrupted_workers_go_on_as_fewer(tmp_path):
    process = start(tmp_path, *WALK, "--checkpoint-every", "0.01", epochs="20")
    while not (folder(tmp_path).path / "checkpoint.pt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert len(folder(tmp_path).checkpoint()["others"]) == 1
    code, said = train(tmp_path, *WALK[:-1], "1", epochs="20")
    assert (code, said) == (0, "")
    assert folder(tmp_path).records[-1]["gradients"] == 800
    assert folder(tmp_path).config["workers"] == 1


@pytest.mark.slow
def test_one_process_goes_on_as_two_from_amid_a_walk(tmp_path):
    process = start(tmp_path, *WALK[:-2], "--checkpoint-every", "0.01", epochs="400")
    while not (folder(tmp_path).path / "checkpoint.pt").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    done = folder(tmp_path).checkpoint()["gradients"]
    process = start(tmp_path, *WALK, "--checkpoint-every", "0.5", epochs="400")
    for _ in range(600):
        if folder(tmp_path).checkpoint()["gradients"] > done or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert folder(tmp_path).checkpoint()["gradients"] > done, said
    assert process.returncode == 130


@pytest.mark.slow
def test_what_workers_cannot_do_is_said_once_and_nothing_is_written(tmp_path):
    code, said = train(tmp_path, "--optimizer", "adam", "--workers", "2")
    assert (code, said) == (
        2,
        "widevalley: sync=walk: must be step for adam, which does not walk\n",
    )
    assert not any(tmp_path.iterdir())


def failures(tmp_path, *ended):
    """What a launcher sees of workers, of each its exit code and the second in which it failed."""
    for rank, (code, second) in enumerate(ended):
        with patch("time.time", return_value=second):
            yield ProcessFailure(rank, 0, code, str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("ended", "first"),
    [
        ([(-signal.SIGTERM, 5), (-signal.SIGKILL, 5)], 1),
        ([(CRASHED, 5), (-signal.SIGKILL, 6)], 1),
        ([(-signal.SIGABRT, 5), (-signal.SIGSEGV, 6)], 1),
        ([(-signal.SIGABRT, 6), (1, 5)], 1),
        ([(1, 6), (1, 5), (-signal.SIGTERM, 4)], 1),
    ],
)
def test_the_worker_that_failed_first_is_found(ended, first, tmp_path):
    found = sorted(failures(tmp_path, *ended), key=_order)
    assert found[0].local_rank == first


@pytest.mark.parametrize(
    ("code", "why"), [(CRASHED, "KeyError: 'x'"), (7, "ended with exit code 7"), (-11, "SIGSEGV")]
)
def test_a_worker_that_crashes_is_shown(code, why, tmp_path, monkeypatch, capsys):
    file = tmp_path / "error.json"
    if code == CRASHED:
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        try:
            raise KeyError("x")
        except KeyError as error:
            ErrorHandler().record_exception(error)
    failed = ChildFailedError("widevalley", {1: ProcessFailure(1, 0, code, str(file))})
    monkeypatch.setattr(
        "widevalley.cli.launch.elastic_launch", Mock(return_value=Mock(side_effect=failed))
    )
    with pytest.raises(WorkerFailed, match=f"worker 1 of 2: .*{why}"):
        launch(2)
    assert ("test_workers.py" in capsys.readouterr().err) == (code == CRASHED)


def test_a_batch_is_shared_evenly():
    with pytest.raises(ValueError, match="batch_size=32: must be a multiple of workers, 3"):
        RunConfig(optimizer=SGDSettings(), batch_size=32, workers=3)


def test_workers_are_started_from_outside():
    with pytest.raises(ValueError, match="workers=2: must be 1, the processes there are"):
        Workers.join(2)


def test_alone_nothing_is_asked_of_others():
    alone = Workers.join(1)
    assert alone.first(lambda: 3) == 3
    assert alone.any(True, False) == [True, False]
    assert alone.mean(0.1) == 0.1
    assert alone.own({"a": 1}) == {"a": 1}
    assert not alone.orphaned


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2), (2, 2)])
def test_what_a_text_carries_goes_to_the_columns_of_each_worker(before, after):
    whole = torch.arange(2.0 * 7 * 3).view(2, 7, 3)
    parts = [(whole[:, k::before], whole[:, k::before] + 1) for k in range(before)]
    state = {"carried": parts[0], "gradients": 5}
    if before > 1:
        state["others"] = [{"carried": part} for part in parts[1:]]
    found = respread(state, after)
    assert len(found) == after
    for k, each in enumerate(found):
        assert each["gradients"] == 5
        assert "others" not in each
        for t, more in zip(each["carried"], (0, 1), strict=True):
            assert torch.equal(t, whole[:, k::after] + more)


def test_of_shared_gradients_a_worker_saves_what_is_its_own(task, config):
    loop = Loop(task, replace(config, optimizer=SGDSettings(), device="cpu", precision="32-true"))
    state = loop.state_dict()
    assert loop.own_part(state) is state
    loop.config = replace(loop.config, sync="step")
    assert set(loop.own_part(state)) == {"carried", "loss_sum", "loss_steps", "rng"}
