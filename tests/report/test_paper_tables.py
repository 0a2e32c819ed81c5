"""The paper's tables and figures, from run folders written by hand."""

import math

import pytest

from widevalley.experiments import PAPER, QUOTED
from widevalley.report import (
    copy_reproduction,
    markdown_table,
    sgld_table,
    table_1,
    write_reproduction,
)
from widevalley.training import RunFolder

from .test_report import START

NAMES = [name for recipe in PAPER.values() for name in recipe.variants]


def write_run(root, path, optimizer, epochs, batches, results, *, unit="error", final=True):
    """A run judged once an epoch; of a text, on its test tokens in the end alone."""
    folder = RunFolder(root / path)
    settings = {"recipe": path.split("/")[0], "optimizer": {"name": optimizer}, "epochs": epochs}
    folder.start({**settings, "holdout": 0}, START)
    for k, result in enumerate(results, 1):
        last = final and k == len(results)
        splits = ["test"] if unit == "error" else ["validation"] + ["test"] * last
        record = {"gradients": k * batches, "epoch": float(k), "seconds": 60.0 * k}
        for split in splits:
            record[f"{split}_loss"] = math.log(result) if unit == "perplexity" else result
            record[f"{split}_{unit}"] = result / math.log(2) if unit == "bits" else result
        folder.append({**record, "train_loss": 0.1, **({"final": True} if last else {})})


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    for seed, error in enumerate([1.3, 1.4, 1.5]):
        write_run(root, f"mnistfc/paper/seed-{seed}", "entropy-sgd", 3, 468, [9.0, 3.0, error])
    write_run(root, "allcnn/paper/seed-0", "entropy-sgd", 2, 390, [60.0, 20.0])
    write_run(root, "mnistfc/paper/seed-3", "entropy-sgd", 3, 468, [9.0], final=False)
    write_run(root, "mnistfc/baseline/seed-0", "adam", 100, 468, [9.0, 2.5], final=False)
    write_run(root, "mnistfc/best/seed-0", "entropy-sgd", 3, 468, [], final=False)
    write_run(root, "lenet/sgld/seed-0", "sgld", 2, 468, [3.0, 0.7])
    words = [300.0, 81.0]
    write_run(root, "ptb/paper/seed-0", "entropy-sgd", 2, 1327, words, unit="perplexity")
    write_run(
        root, "ptb/best/seed-0", "entropy-sgd", 9, 1327, [90.0], unit="perplexity", final=False
    )
    write_run(root, "charlstm/best/seed-0", "entropy-adam", 2, 407, [1.9, 1.2], unit="bits")
    return root


def cells(text, run):
    line = next(line for line in text.splitlines() if line.startswith(f"| {run} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_table_1(runs):
    text = markdown_table(table_1(runs, list(PAPER.values())))
    assert len(text.splitlines()) == 2 + len(NAMES) - NAMES.count("sgld")
    assert cells(text, "mnistfc paper") == [
        *("entropy-sgd", "3 (+ 1 partial)", "1.40 ± 0.06 %", "", "3 of 120", "1,404", "3.0"),
        "1.37 ± 0.03 at 120",
    ]
    assert cells(text, "allcnn paper")[2:6] == ["20.00 %", "", "2 of 200", "780"]
    assert cells(text, "ptb paper")[2:4] == ["81.00", "81.00"]
    assert cells(text, "ptb paper")[-1] == "77.656 ± 0.171 / 80.116 ± 0.069 at 25"
    assert cells(text, "charlstm best")[2:4] == ["1.2000 nats (1.731 bits)", "1.2000 nats"]


def test_what_is_not_there_is_said(runs):
    text = markdown_table(table_1(runs, list(PAPER.values())))
    assert cells(text, "allcnn baseline") == [
        *("sgd", "0", "not run", "not run", "", "", "", "7.71 ± 0.19 at 180")
    ]
    partial = cells(text, "mnistfc baseline")
    assert partial[:3] == ["adam", "0", "partial (936 of 46,800 gradients) 2.50 %"]
    assert partial[4:7] == ["2", "936", "2.0"]
    assert cells(text, "mnistfc best")[2] == "partial (no evaluation yet)"
    assert cells(text, "ptb best")[2:4] == ["partial (1,327 of 11,943 gradients)", "90.00"]


def test_sgld_has_a_table_of_its_own(runs):
    text = markdown_table(sgld_table(runs, list(PAPER.values())))
    assert len(text.splitlines()) == 2 + NAMES.count("sgld")
    assert cells(text, "lenet sgld")[2] == "0.70 %"
    assert cells(text, "lenet sgld")[-1] == "0.63 ± 0.1 at 300"
    assert cells(text, "ptb sgld")[-1] == "94.03"


def test_files(runs):
    written = write_reproduction(runs, list(PAPER.values()))
    names = [path.name for path in written]
    assert names == ["table.md", "figure-4.png", "figure-5.png", "figure-6.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])
    text = written[0].read_text()
    assert "## SGLD" in text
    assert text.count("widevalley compare digits --seeds 3") == 1


def test_kept_elsewhere_without_checkpoints(runs, tmp_path):
    (runs / "lenet/sgld/seed-0/checkpoint.pt").write_bytes(b"large")
    copy_reproduction(runs, list(PAPER.values()), tmp_path / "kept")
    kept = tmp_path / "kept/lenet/sgld/seed-0"
    names = {path.name for path in kept.iterdir()}
    assert names == {"config.json", "environment.json", "metrics.jsonl"}
    text = (tmp_path / "kept/table.md").read_text()
    assert cells(text, "lenet sgld")[2] == "0.70 %"
    assert cells(text, "mnistfc best")[2] == "not run"  # it had no record


def test_kept_runs_of_other_settings_are_not_overwritten(runs, tmp_path):
    copy_reproduction(runs, list(PAPER.values()), tmp_path / "kept")
    config = tmp_path / "kept/lenet/sgld/seed-0/config.json"
    config.write_text("{}")
    with pytest.raises(ValueError, match="holds a run of other settings"):
        copy_reproduction(runs, list(PAPER.values()), tmp_path / "kept")
    assert config.read_text() == "{}"


def test_nothing_at_all(tmp_path):
    (table,) = write_reproduction(tmp_path / "runs", list(PAPER.values()))
    assert table.read_text().count("not run") == 2 * len(NAMES)


def test_what_is_quoted_is_a_variant():
    assert all(name in PAPER[recipe].variants for recipe, name in QUOTED)
