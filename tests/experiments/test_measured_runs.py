"""Measures of several runs in one file."""

import json
import threading
from dataclasses import dataclass, field

from widevalley.experiments.measured_runs import measure_missing


@dataclass
class Measure:
    run: str
    facts: dict = field(default_factory=dict)


def load(file):
    return [Measure(**each) for each in json.loads(file.read_text())]


def test_processes_that_measure_into_one_file_lose_nothing(tmp_path):
    file, together = tmp_path / "measures.json", threading.Barrier(4)

    def measure(name):
        names = [f"{name}/seed-{k}" for k in range(10)]
        together.wait()
        measure_missing(names, Measure, file, {}, load)

    processes = [threading.Thread(target=measure, args=(name,)) for name in "abcd"]
    for one in processes:
        one.start()
    for one in processes:
        one.join()
    assert len({each.run for each in load(file)}) == 40
