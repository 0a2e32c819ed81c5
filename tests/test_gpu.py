"""`make gpu`: its steps, its clock, what it goes on from; and the whole of it on a processor."""

import json
import os
import signal
import subprocess
import sys
import time

import gpu
import pytest
import torch
from figures import Figures
from gpu import Session, Step

from widevalley.training import RunFolder

PYTHON = [sys.executable, "-c"]
COUNT = "import pathlib; file = pathlib.Path({!r}); file.open('a').write('x'); {}"


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path / "out", 60, rehearse=True)


def statuses(to):
    return {
        name: each["status"] for name, each in json.loads((to / "state.json").read_text()).items()
    }


def test_without_a_device_nothing_is_begun(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--to", str(tmp_path / "out")])
    assert gpu.main() == 2
    assert "finds no CUDA device; --rehearse goes without one" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_passed_over_and_what_failed_is_taken_again(session, tmp_path):
    for name, ends in {"good": "", "bad": "raise SystemExit(3)"}.items():
        command = [*PYTHON, COUNT.format(str(tmp_path / name), ends)]
        taken = [session.take(Step(name, command, 1)) for _ in range(2)]
        again = Session(session.to, 60, rehearse=True).take(Step(name, command, 1))
        assert [*taken, again] == [name == "good"] * 3
    assert (tmp_path / "good").read_text() == "x"
    assert (tmp_path / "bad").read_text() == "xxx"
    assert statuses(session.to) == {"good": "done", "bad": "failed"}


def test_a_step_is_asked_to_stop_when_its_time_is_over(monkeypatch, session, tmp_path):
    script = (
        "import pathlib, time\ntry:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path('{}').touch()"
    )
    file = tmp_path / "asked"
    assert not session.take(Step("long", [*PYTHON, script.format(file)], 10 / 60))
    assert file.exists()
    monkeypatch.setattr(gpu, "GRACE", 0.2)
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    start = time.monotonic()
    assert not session.take(Step("deaf", [*PYTHON, deaf], 2 / 60))
    assert time.monotonic() - start < 30
    assert statuses(session.to) == {"long": "stopped", "deaf": "stopped"}


def test_time_is_shared_out_in_the_order_of_the_steps(capsys, tmp_path):
    short = Session(tmp_path / "out", 0.9, rehearse=True)
    step = Step("step", [*PYTHON, "pass"], 1)
    assert not short.take(step, kept=gpu.REPORT)
    assert "step: no time left" in capsys.readouterr().out
    assert short.take(step)


def test_nothing_waits_for_a_gpu_twice(tmp_path):
    planned = list(gpu.steps(tmp_path, 30, 2, rehearse=False))
    assert [step.name for step in planned[:3]] == ["tests", "step", "graph"]
    assert len({step.name for step in planned}) == len(planned) == 4 + 2 * len(gpu.TRAININGS)


def test_a_signal_amid_a_finaliser_is_heard(capsys, monkeypatch, tmp_path):
    """Where an exception of its handler would be lost."""

    class Ended:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def steps(*given):
        yield Step("first", [*PYTHON, "pass"], 1)
        Ended()
        yield Step("second", [*PYTHON, "pass"], 1)

    monkeypatch.setattr(gpu, "steps", steps)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rehearse", "--to", str(tmp_path)])
    assert gpu.main() == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().out
    assert statuses(tmp_path) == {"first": "done"}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def rehearse(to):
    command = [sys.executable, gpu.__file__, "--rehearse", "--to", str(to)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_rehearsal_is_stopped_and_goes_on_to_its_end(tmp_path):
    to = tmp_path / "out"
    first = rehearse(to)
    while not (to / "state.json").exists():
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGTERM)
    told, _ = first.communicate(timeout=120)
    assert first.returncode == 130
    assert "interrupted; the same command goes on" in told
    assert statuses(to) == {"tests": "done"}
    second = rehearse(to)
    told, _ = second.communicate(timeout=800)
    log = (to / "log.txt").read_text()
    assert second.returncode == 0, told + log
    assert "tests: done before" in told
    assert set(statuses(to).values()) == {"done"}
    for name in ("step", "graph", "epoch"):
        assert Figures.read(to / f"{name}.json").benchmark == name
    for recipe, variant in gpu.TRAININGS:
        assert RunFolder(to / "runs-small" / recipe / variant / "seed-0").finished
    table = (to / "runs-small/table.md").read_text().splitlines()
    for recipe in ("allcnn", "ptb"):
        (row,) = (line for line in table if line.startswith(f"| {recipe} best "))
        assert "not run" not in row
    assert (to / "runs-small/figure-5.png").exists()
