"""Hostile use, in figures: bad command lines, damaged checkpoints, kills.

    python benchmarks/hostile.py [--lines 10000] [--flips 200] [--kills 100] [--seed 0] [--to FILE]

Prints a row a series, and writes them to FILE. What must hold: a bad command line ends with one
line, without a traceback and with nothing written; a damaged checkpoint is refused, or loads as it
was, and nothing is executed; a killed run goes on and ends, to the bit, as one that was not.
"""

import argparse
import contextlib
import io
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from widevalley.cli import main as command_line
from widevalley.cli.command_line import VERBS
from widevalley.experiments import RECIPES
from widevalley.training import RunFolder
from widevalley.training.checkpoint import load

VALUES = [
    *("", " ", "nan", "inf", "-inf", "-1", "0", "1e400", "1e-400", "NaN,1", "true", "None", "[]"),
    *(
        "--",
        "-",
        "=",
        "é",
        "\n",
        "\t",
        "a b",
        "x" * 300,
        "/" + "y" * 5000,
        "/dev/null/x",
        "/proc/x",
    ),
    *("../../..", "~", "$HOME", "`id`", "; rm", "%s", "{}", "\x1b[2J", "１", "0x10", "9" * 400),
]
"""What nobody would type on purpose."""
BROKEN = ["--nosuch", "--epochs", "--epochs=no", "--seeds=0", "--threads=-1", "--optimizer=lion"]
"""One of them makes any command line a bad one."""
FLAGS = [
    *("--epochs", "--seeds", "--runs", "--to", "--optimizer", "--variant", "--grid", "--samples"),
    *("--radii", "--gammas", "--schedule", "--optimizer.lr", "--optimizer.gamma", "--clip"),
    *("--schedule-from", "--methods", "--budget", "--trials", "--method", "--points", "--threads"),
]
LONG = "/" + "y" * 5000
BAD = [
    *(["train", "digits", "--runs", one] for one in (LONG, "/dev/null/x", "z" * 300)),
    *([verb, LONG] for verb in ("report", "claims", "flatness", "harden", "spectrum", "landscape")),
    *(["train", "digits", "--schedule-from", one] for one in ("inf", "nan", "-1")),
    *(["train", "digits", "--optimizer.lr", one] for one in ("inf", "nan", "-1", "1e39")),
    *([verb, "digits", "--optimizer", ""] for verb in ("train", "sweep")),
    *(["claims", ""], ["report", ""], ["theory", "--to", ""], ["theory", "--to", LONG]),
    *(["landscape", "toy", "--gammas", one] for one in ("nan", "inf", "0")),
    *(["landscape", "toy", "--to", one] for one in (LONG, "/dev/null/x")),
    *(["flatness", "nowhere", "--radii", one] for one in ("nan", "inf", "0", "-1")),
    *(["compare", "digits", "--trials", one] for one in ("0", "-1", "nan", "9" * 400 + "x")),
    *(["sweep", "digits", "--grid", one] for one in ("lr", "=", "seed=1", "epochs=inf", ",")),
]
"""Each bad by one value, though read without complaint."""
TRAIN = ["train", "digits", "--epochs", "4", "--checkpoint-every", "0", "--threads", "1"]


def bad_line(rng: random.Random) -> list[str]:
    """A command line with something in it that no verb takes."""
    if rng.random() < 0.3:
        return rng.choice(BAD)
    verb = rng.choice([*(verb.name for verb in VERBS), *VALUES])
    first = rng.choice([*RECIPES, *VALUES, "toy", "nowhere"])
    words = [verb, first]
    for _ in range(rng.randrange(4)):
        words.append(rng.choice(FLAGS))
        if rng.random() < 0.8:
            words.append(rng.choice(VALUES))
    words.insert(rng.randrange(2, len(words) + 1), rng.choice(BROKEN))
    return words if rng.random() < 0.9 else [verb, "--nosuch"]


def bad_lines(count: int, seed: int) -> dict[str, int]:
    """Give so many to the command line, in an empty folder."""
    found = dict.fromkeys(("lines", "tracebacks", "accepted", "not one line", "files written"), 0)
    rng, before = random.Random(seed), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for _ in range(count):
                words, errors = bad_line(rng), io.StringIO()
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
                    try:
                        code = command_line(words)
                    except BaseException as error:  # what a user would see as a traceback
                        found["tracebacks"] += 1
                        print(f"{words!r:.300}: {error!r:.300}", file=sys.__stderr__)
                        continue
                found["lines"] += 1
                found["accepted"] += code == 0
                found["not one line"] += code != 0 and errors.getvalue().count("\n") != 1
                left = list(Path(folder).iterdir())
                found["files written"] += len(left)
                if left:
                    print(f"{words!r:.300}: wrote {left}", file=sys.__stderr__)
                    break
        finally:
            os.chdir(before)
    return found


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def damaged_checkpoints(count: int, seed: int) -> dict[str, int]:
    """Flip a bit in each of `count` regions, cut it there, and load a pickle that is a program."""
    found = dict.fromkeys(
        ("files", "refused", "loaded as it was", "loaded otherwise", "other errors", "executed"), 0
    )
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        quietly([*TRAIN, "--runs", name])
        file = next(folder.glob("digits/*/seed-0/checkpoint.pt"))
        whole, damaged, bomb = file.read_bytes(), folder / "damaged.pt", folder / "bomb"
        contents, before = [], repr(flat(load(file)))
        for k in range(count):
            at = len(whole) * k // count + rng.randrange(len(whole) // count)
            flipped = bytes([whole[at] ^ 1 << rng.randrange(8)])
            contents += [whole[:at] + flipped + whole[at + 1 :], whole[:at]]
        bombed = io.BytesIO()
        torch.save({"model": Bomb(str(bomb))}, bombed)
        contents += [bombed.getvalue(), pickle.dumps(Bomb(str(bomb))), b""]
        for content in contents:
            damaged.write_bytes(content)
            found["files"] += 1
            try:
                same = repr(flat(load(damaged))) == before
                found["loaded as it was" if same else "loaded otherwise"] += 1
            except ValueError:
                found["refused"] += 1
            except Exception as error:
                found["other errors"] += 1
                print(repr(error)[:300], file=sys.stderr)
        found["executed"] = int(bomb.exists())
    return found


def quietly(words: list[str]) -> int:
    """The command line without its output; its exit code."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return command_line(words)


def kills(count: int, seed: int) -> dict[str, int]:
    """Kill trainings of every optimizer of digits at random moments, by -9 or Ctrl-C in turn."""
    found = dict.fromkeys(("kills", "by -9", "by Ctrl-C", "amid a write", "ended otherwise"), 0)
    rng, optimizers = random.Random(seed), RECIPES["digits"].optimizers
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        while found["kills"] < count:
            for optimizer in optimizers:
                line = [*TRAIN, "--optimizer", optimizer, "--runs"]
                whole, parts = (root / one / "digits" / optimizer / "seed-0" for one in "wp")
                if not whole.exists():
                    assert quietly([*line, str(root / "w")]) == 0
                elif found["kills"] >= count:
                    break
                while parts.exists() and RunFolder(parts).finished:
                    parts = parts.rename(root / f"{optimizer}-{found['kills']}")
                    found["ended otherwise"] += end_of(parts) != end_of(whole)
                    parts = root / "p" / "digits" / optimizer / "seed-0"
                kill(parts, [*line, str(root / "p")], rng, found)
        for parts in (root / "p/digits").glob("*/seed-0"):
            line = [*TRAIN, "--optimizer", parts.parent.name, "--runs", str(root / "p")]
            assert quietly(line) == 0
            whole = root / "w/digits" / parts.parent.name / "seed-0"
            found["ended otherwise"] += end_of(parts) != end_of(whole)
    return found


def kill(parts: Path, line: list[str], rng: random.Random, found: dict[str, int]) -> None:
    """Start or go on with a run in a process of its own, and kill it some time after it began."""
    starts, begun = len(RunFolder(parts).environments), time.monotonic()
    pid = os.fork()  # not a new Python: importing torch takes longer than the run
    if not pid:
        code = 99
        try:
            code = quietly(line)
        finally:
            os._exit(code)
    while len(RunFolder(parts).environments) == starts and time.monotonic() - begun < 60:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.6))
    how = rng.choice([signal.SIGKILL, signal.SIGINT])
    os.kill(pid, how)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code in (130, -signal.SIGKILL):
        found["kills"] += 1
        found["by -9" if how == signal.SIGKILL else "by Ctrl-C"] += 1
        found["amid a write"] += any(parts.glob(".*.part"))


def end_of(path: Path) -> str:
    """The last state of a run and its metrics, but for the seconds, as text to compare."""
    folder = RunFolder(path)
    state = folder.checkpoint()
    del state["seconds"], state["metrics_bytes"]
    records = [{k: v for k, v in each.items() if k != "seconds"} for each in folder.records]
    for record in records:
        record.pop("seconds", None)
    return json.dumps(records) + repr(flat(state))


def flat(value: object) -> object:
    """Tensors as their bytes."""
    if isinstance(value, torch.Tensor):
        return value.contiguous().flatten().view(torch.uint8).numpy().tobytes().hex()
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    return [flat(one) for one in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in {"lines": 10_000, "flips": 200, "kills": 100, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    series: dict[str, Callable[[], dict[str, int]]] = {
        "bad command lines": lambda: bad_lines(given.lines, given.seed),
        "damaged checkpoints": lambda: damaged_checkpoints(given.flips, given.seed),
        "kills": lambda: kills(given.kills, given.seed),
    }
    rows = ["# Hostile use", "", f"`{' '.join(['python', *sys.argv])}`, torch {torch.__version__}"]
    rows += ["", "| series | figures |", "|---|---|"]
    for title, count in series.items():
        figures = ", ".join(f"{what} {number:,}" for what, number in count().items())
        rows.append(f"| {title} | {figures} |")
        print(f"{title}: {figures}", flush=True)
    if given.to:
        given.to.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
