"""The table of many workers, from made-up runs."""

import json

import pytest
from scipy import stats
from workers_table import Table, write

LOSSES = {("one", 1): (1.0, 2.0, 3.0), ("ddp", 2): (1.5, 2.4, 3.3), ("local-5", 2): (1.1, 2.5, 3.2)}
BYTES = {"one": 0, "ddp": 1000, "local-5": 201}
SECONDS = {"one": (0.3, 0.1, 0.2), "ddp": (0.5, 0.4, 0.9), "local-5": (0.2, 0.2, 0.2)}


@pytest.fixture
def folder(tmp_path):
    runs = [
        {"task": "small-gpt", "row": row, "workers": n, "seed": seed, "outer": [1.0, 0.0]}
        | {"steps": 1200 // n, "weights": 1000, "bytes_sent": BYTES[row], "loss": loss}
        for (row, n), losses in LOSSES.items()
        for seed, loss in enumerate(losses, start=1)
    ]
    link = [
        {"task": "small-gpt", "row": row, "workers": n, "steps": 10, "seconds": 10 * t, "mbit": 100}
        for row, n in LOSSES
        for t in SECONDS[row]
    ]
    link += [{**link[-1], "row": "local-100"}]
    link += [{"row": "latency", "workers": 2, "mbit": 100, "seconds": 1e-3}]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    (tmp_path / "slow-link.json").write_text(json.dumps(link))
    return tmp_path


def test_a_row_says_what_the_runs_were(folder):
    (line,) = [line for line in write(folder).splitlines() if line.startswith("| local walks, L 5")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    differences = [ours - theirs for ours, theirs in zip(LOSSES["local-5", 2], LOSSES["one", 1])]
    low, high = stats.t.interval(0.95, 2, loc=sum(differences) / 3, scale=stats.sem(differences))
    assert cells[3] == "2.2667 ± 0.6173"
    assert cells[4] == f"+0.2667 ({low:+.4f} to {high:+.4f})"
    assert cells[7] == "20.1 %"
    assert cells[8] == "120.0"


def test_seconds_are_the_median_of_the_rounds(folder):
    runs, link = (json.loads((folder / f).read_text()) for f in ("runs.json", "slow-link.json"))
    table = Table("small-gpt", 1200, runs, link)
    assert table.seconds("ddp", 2) == pytest.approx(0.5)
    assert table.seconds("ddp", 4) is None
