"""The table of many workers, from the runs of workers.py and the seconds of slow_link.py.

    python benchmarks/workers_table.py [runs/workers] [--to results/workers]

Keeps all runs of the folder, if one is given, in TO/runs.json, and writes TO/table.md from that
file and TO/slow-link.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from communication import Link, Mode, simulate
from worker_run import PROBLEMS, ROWS

from widevalley.report.evidence import paired
from widevalley.report.table import markdown_table
from widevalley.workers import TopK

TITLES = {
    "one": "one worker",
    "ddp": "DDP",
    "local-5": "local walks, L 5",
    "local-20": "local walks, L 20",
    "local-100": "local walks, L 100",
    "parle": "Parle, L 25",
    "local-20-bf16": "local walks, L 20, bf16",
    "local-20-8bits": "local walks, L 20, 8 bits",
    "local-20-topk": "local walks, L 20, largest 1/100",
}
_topk = TopK(1 / 100)
MODES = {
    "ddp": Mode(),
    "local-5": Mode(5),
    "local-20": Mode(20),
    "local-100": Mode(100),
    "parle": Mode(25, hidden=True),
    "local-20-8bits": Mode(20, 1.004, gathered=True),
    "local-20-topk": Mode(20, (3 * _topk.kept + 4) / _topk.block, gathered=True),
}
PAYLOAD = 1448 / 1514
"""Of an Ethernet frame's bytes, what TCP carries."""

Record = dict[str, Any]
Runs = dict[tuple[str, int], dict[int, Record]]
"""By row and workers, then by seed."""


class Table:
    """One task's runs of so many gradients in all, and the seconds of its steps."""

    def __init__(self, task: str, gradients: int, runs: list[Record], link: list[Record]) -> None:
        self.task, self.link = task, link
        self.runs: Runs = {}
        for run in runs:
            if run["task"] == task and run["seed"] and gradients == spent(run):
                self.runs.setdefault((run["row"], run["workers"]), {})[run["seed"]] = run
        self.fields = {"error": ("error, %", 2)} if task == "lenet" else {}
        self.fields["loss"] = ("loss, nats", 4)

    def values(self, row: str, n: int, field: str) -> dict[int, float]:
        """Of each seed."""
        return {seed: run[field] for seed, run in self.runs[row, n].items()}

    def seconds(self, row: str, n: int) -> float | None:
        """Of a step on the slow link, the median of the rounds."""
        found = [
            one["seconds"] / one["steps"]
            for one in self.link
            if one.get("task") == self.task and (one["row"], one["workers"]) == (row, n)
        ]
        return statistics.median(found) if found else None

    def predicted(self, row: str, n: int) -> float:
        """Of a step, by the simulation, with what a step of L = 100 computes."""
        weights = next(iter(self.runs.values()))[1]["weights"]
        (told,) = (o for o in self.link if o["row"] == "latency" and o["workers"] == n)
        link = Link(told["mbit"] * 1e6 / 8 * PAYLOAD, told["seconds"])
        longest = self.seconds("local-100", n)
        assert longest is not None
        computing = longest - MODES["local-100"].message(weights, n, link) / 100
        mode, walks = MODES[row], 2
        last = mode.message(weights, n, link) / (walks * mode.walk) if mode.hidden else 0.0
        return simulate(mode, weights, n, link, computing, walks=walks) + last

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """One row a way to work together."""
        names = [title for title, _ in self.fields.values()]
        heads = ["", "workers", "seeds", *names]
        heads += [f"{title}, minus {other}" for other in ("one worker", "DDP") for title in names]
        heads += ["MB sent a worker", "of DDP's", "s a run, slow link", "simulated"]
        return heads, [
            self._row(row, n) for row in ROWS for n in (1, 2, 4) if (row, n) in self.runs
        ]

    def _row(self, row: str, n: int) -> list[str]:
        runs = self.runs[row, n]
        cells = [TITLES[row], str(n), str(len(runs))]
        for field, (_, digits) in self.fields.items():
            values = list(self.values(row, n, field).values())
            cell = f"{statistics.fmean(values):.{digits}f}"
            if len(values) > 1:
                cell += f" ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"
            cells.append(cell)
        for other in (("one", 1), ("ddp", n)):
            for field, (_, digits) in self.fields.items():
                cells.append(self._difference((row, n), other, field, digits))
        one = next(iter(runs.values()))
        cells.append(f"{one['bytes_sent'] / 1e6:,.3f}" if n > 1 else "0")
        whole = self.runs.get(("ddp", n))
        share = one["bytes_sent"] / next(iter(whole.values()))["bytes_sent"] if whole else None
        cells.append(f"{100 * share:.5g} %" if share is not None and row != "ddp" else "")
        took = self.seconds(row, n)
        cells.append(f"{one['steps'] * took:.1f}" if took else "")
        simulated = row in MODES and took is not None
        cells.append(f"{one['steps'] * self.predicted(row, n):.1f}" if simulated else "")
        return cells

    def _difference(
        self, ours: tuple[str, int], other: tuple[str, int], field: str, digits: int
    ) -> str:
        if ours == other or other not in self.runs:
            return ""
        between = paired(self.values(*ours, field), self.values(*other, field))
        said = between.shown(digits)
        return said if between.low <= 0 <= between.high else f"**{said}**"

    def errors(self) -> list[float]:
        """The simulation's, relative; L = 100 aside, which told it what a step computes."""
        found = []
        for row, n in self.runs:
            took = self.seconds(row, n)
            if row in MODES and row != "local-100" and took:
                found.append(self.predicted(row, n) / took - 1)
        return found


def write(to: Path) -> str:
    """The text of table.md."""
    runs = json.loads((to / "runs.json").read_text())
    file = to / "slow-link.json"
    link = json.loads(file.read_text()) if file.exists() else []
    text, errors = "# Many workers at equal gradients\n", []
    for task in PROBLEMS:
        own = [run for run in runs if run["task"] == task and run["seed"]]
        if not own:
            continue
        lr, momentum = own[0]["outer"]
        text += (
            f"\n## {task}\n\n{own[0]['weights']:,} weights; the anchor's rate {lr:g}, momentum "
            f"{momentum:g}, the best by held-out loss at L 20 with four workers: "
            f"{'; '.join(_tried(runs, task))}.\n"
        )
        for gradients in sorted(set(map(spent, own))):
            table = Table(task, gradients, runs, link)
            errors += table.errors() if gradients == PROBLEMS[task].gradients else []
            text += f"\n{gradients:,} gradients in all:\n\n{markdown_table(table.cells())}"
    text += (
        "\nTest set, mean over seeds ± standard error. A difference is of runs of the same seed, "
        "with Student's interval of 95 %; bold where it leaves out 0. Bytes as counted by the "
        "package, of each worker."
    )
    if errors:
        mbit = next(one["mbit"] for one in link if one["workers"] > 1)
        text += (
            f" Slow link: {mbit:g} Mbit/s out of each worker by `tc`, on two cores that the "
            "workers share; seconds of a step (median of three rounds) times the steps of a run. "
            f"The simulation is off by {100 * statistics.median(map(abs, errors)):.0f} % in the "
            f"median and {100 * max(map(abs, errors)):.0f} % at most, of {len(errors)}."
        )
    return text + "\n"


def spent(run: Record) -> int:
    """Gradients of a run, in all."""
    return int(run["steps"] * run["workers"])


def _tried(runs: list[Record], task: str) -> list[str]:
    tried = [run for run in runs if run["task"] == task and not run["seed"]]
    return [f"{r['outer'][0]:g}, {r['outer'][1]:g}: {r['loss']:.4f}" for r in tried]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--to", type=Path, default=Path("results/workers"))
    given = parser.parse_args()
    if given.runs:
        found = [json.loads(file.read_text()) for file in sorted(given.runs.rglob("*.json"))]
        lines = ",\n".join(json.dumps(run) for run in found)
        (given.to / "runs.json").write_text(f"[\n{lines}\n]\n")
    (given.to / "table.md").write_text(write(given.to))
    print(given.to / "table.md")


if __name__ == "__main__":
    main()
