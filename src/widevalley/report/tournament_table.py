"""A tournament in a table and a picture, from its folder alone."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from widevalley.experiments import as_flag, held_out
from widevalley.report.copied_runs import copy_runs, provenance
from widevalley.report.evidence import paired
from widevalley.report.groups import Group, diverged_in, find_groups, folders_in, summarise
from widevalley.report.table import Cells, markdown_table
from widevalley.report.tournament_figures import draw_tournament
from widevalley.training import RunFolder

BASELINE = "adamw"
"""What differences are shown from, beside the first."""
NEAR = 1.1
"""A trial counts as near the best where it is judged by at most this much of it."""
TITLES = {"loss": "loss, nats", "error": "error, %", "ece": "ECE, %"}
DIGITS = {"loss": 4, "error": 2, "ece": 2}

SAID = """\
Test set, mean over seeds ± standard error, ranked by {criterion}. A difference is the mean over \
seeds of the method minus another at the same seed, with Student's interval of 95 %; where it \
holds 0, the two are not told apart. {first} was picked as the first by these very numbers, which \
favours it, and many intervals are shown, of which one in twenty misses. ECE: expected calibration \
error in 15 bins. Seconds are those of a whole run, with other work on the machine beside: they \
rank no one. Memory: largest resident set of the process, and bytes of the optimizer's state. \
Near: share of the distinct trials within 10 % of the method's own best, and of the best of all \
methods, on held-out data.
"""


@dataclass(frozen=True)
class Tournament:
    """What a folder of `widevalley compare --methods` holds."""

    folder: Path

    @cached_property
    def decided(self) -> dict[str, Any]:
        """What was decided before the first run."""
        plain: dict[str, Any] = json.loads((self.folder / "tournament.json").read_text())
        return plain

    @property
    def criterion(self) -> str:
        """What methods were tuned by and are ranked by."""
        return str(self.decided["criterion"])

    @cached_property
    def groups(self) -> list[Group]:
        """The finished runs with fresh seeds of each method, the first one first."""
        found = find_groups(self.folder)
        known = [group for group in found if group.name in self.decided["methods"]]
        return sorted(
            known, key=lambda g: statistics.fmean(self.by_seed(g, self.criterion).values())
        )

    @property
    def fields(self) -> list[str]:
        """The numbers that the runs were evaluated by."""
        last = self.groups[0].folders[0].records[-1]
        return [name for name in TITLES if f"test_{name}" in last]

    @staticmethod
    def by_seed(group: Group, field: str) -> dict[int, float]:
        """A number of each run on the test set, by its seed."""
        return {f.config["seed"]: float(f.records[-1][f"test_{field}"]) for f in group.folders}

    def trials(self, method: str) -> list[float]:
        """What each distinct trial is judged by on held-out data; infinite where it diverged."""
        file = self.folder / "trials.json"
        if file.exists():
            return [float(value) for value in json.loads(file.read_text())[method]]
        root = self.folder / "trials" / method
        folders = [f for point in sorted(root.glob("*")) for f in folders_in(point)]
        done = [f for f in folders if f.finished or f.diverged]
        return [held_out(f, self.criterion) for f in done]


def result_cells(played: Tournament) -> Cells:
    """One row a method: what it came to, what it cost, and how easily it was tuned."""
    fields = played.fields
    heads = ["method", "seeds", *(TITLES[name] for name in fields)]
    heads += ["seconds", "MiB", "state, KiB", "trials", "near own best", "near best of all"]
    tried = {group.name: played.trials(group.name) for group in played.groups}
    best = min((min(values) for values in tried.values() if values), default=math.inf)
    rows = []
    for group in played.groups:
        values = tried[group.name]
        peaks = [start["peak_bytes"] for f in group.folders for start in f.environments[-1:]]
        row = [group.name, str(len(group.folders))]
        row += [
            summarise(played.by_seed(group, name).values()).shown(DIGITS[name]) for name in fields
        ]
        row += [f"{group.final('seconds').mean:.1f}", f"{max(peaks) / 2**20:.0f}"]
        row += [f"{group.final('state_bytes').mean / 2**10:,.0f}", str(len(values))]
        rows.append(row + [_near(values, least) for least in (min(values, default=0.0), best)])
    failed = [f.path.parent.name for f in diverged_in(played.folder)]
    empty = [""] * (len(heads) - 3)
    rows += [[name, str(failed.count(name)), "diverged", *empty] for name in dict.fromkeys(failed)]
    shown = {row[0] for row in rows}
    missing = [name for name in played.decided["methods"] if name not in shown]
    rows += [[name, "0", "not at its end", *empty] for name in missing]
    return heads, rows


def _near(values: list[float], best: float) -> str:
    near = [value for value in values if value <= NEAR * best]
    return f"{100 * len(near) / len(values):.0f} %" if values else ""


def difference_cells(played: Tournament) -> Cells:
    """One row a method: differences from the first, and from the baseline where it took part."""
    first = played.groups[0]
    others = [first, *(g for g in played.groups[1:] if g.name == BASELINE)]
    heads = ["method"]
    heads += [f"{TITLES[name]}, minus {other.name}" for other in others for name in played.fields]
    pairs = [(other, name) for other in others for name in played.fields]
    return heads, [
        [group.name, *(_difference(played, group, other, name) for other, name in pairs)]
        for group in played.groups
    ]


def _difference(played: Tournament, ours: Group, theirs: Group, field: str) -> str:
    if ours is theirs:
        return ""
    interval = paired(played.by_seed(ours, field), played.by_seed(theirs, field))
    return interval.marked(DIGITS[field])


def tuning_cells(played: Tournament) -> Cells:
    """One row a method: where it was tuned, and what was chosen."""
    rows = []
    for group in played.groups:
        decided = played.decided["methods"][group.name]
        config = group.folders[0].config
        chosen = {p["field"]: _value(config, p["field"]) for p in decided["space"]}
        shown = ", ".join(f"{as_flag(name)} {value:g}" for name, value in chosen.items())
        rows.append([group.name, "; ".join(decided["said"]), shown])
    return ["method", "search space", "chosen"], rows


def _value(config: dict[str, Any], field: str) -> float:
    value: Any = config
    for part in field.split("."):
        value = value[part]
    return float(value)


def write_tournament(source: Path, to: Path | None = None) -> list[Path]:
    """Write table.md and curves beside the runs, or beside a copy of those with fresh seeds.

    Of the trials a copy has what they were judged by, in trials.json. Raises ValueError where
    `source` holds no finished run.
    """
    if to and to != source:
        _copy(Tournament(source), to)
    played = Tournament(to or source)
    decided, title = played.decided, f"Tournament: {played.decided['task']}"
    first = played.groups[0].name
    counts = sorted({len(played.trials(group.name)) for group in played.groups})
    trials = " to ".join(f"{count}" for count in dict.fromkeys((counts[0], counts[-1])))
    text = (
        f"# {title}\n\n{decided['budget']:,} gradient evaluations a run, {trials} "
        f"trials a method on held-out data by {TITLES[played.criterion]}; then fresh seeds.\n\n"
        f"{markdown_table(result_cells(played))}\n"
        f"{SAID.format(criterion=TITLES[played.criterion], first=first)}\n"
        f"## Differences\n\nBold: the interval does not hold 0.\n\n"
        f"{markdown_table(difference_cells(played))}\n"
        f"## Search spaces\n\n{markdown_table(tuning_cells(played)).replace('---:', '---')}\n"
        f"{provenance(played.groups)}"
    )
    table = played.folder / "table.md"
    table.write_text(text)
    return [table, *draw_tournament_of(played.folder)]


def draw_tournament_of(folder: Path) -> list[Path]:
    """Draw the curves of a tournament's folder; returns PNG and SVG."""
    played = Tournament(folder)
    panels = [(name, TITLES[name]) for name in played.fields if name != "ece"]
    title = f"Tournament: {played.decided['task']}"
    return draw_tournament(played.groups, panels, title, folder / "curves")


def tournament_cells(folder: Path) -> Cells:
    """`result_cells` of a folder."""
    return result_cells(Tournament(folder))


def _copy(played: Tournament, to: Path) -> None:
    runs: list[RunFolder] = [f for group in played.groups for f in group.folders]
    runs += diverged_in(played.folder)
    copy_runs({run: to / run.path.parent.name / run.path.name for run in runs})
    shutil.copyfile(played.folder / "tournament.json", to / "tournament.json")
    values = {name: played.trials(name) for name in played.decided["methods"]}
    (to / "trials.json").write_text(json.dumps(values, indent=1) + "\n")
