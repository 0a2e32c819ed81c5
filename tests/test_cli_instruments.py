"""`widevalley flatness`, `landscape` and `theory`: files, pictures, and what bad lines are told."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from widevalley.cli import main
from widevalley.experiments import RECIPES, FlatnessConfig, load_flatness, measure_flatness
from widevalley.report import flatness_cells
from widevalley.training import RunFolder
from widevalley.valley.landscape import Slice, ToyLandscape
from widevalley.valley.samplers import Chains

from .experiments.test_measure_spectrum import TINY

FEW = ["--samples", "40", "--threads", "1"]
QUICK = [*FEW, "--walk", "20", "--beta", "100", "--energies", "3", "--gammas", "30", "100"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds of a tiny network."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "tiny", TINY)
        train = ["train", "tiny", "--variant", "paper", "--seeds", "2", "--runs", str(runs)]
        assert main(train) == 0
    return runs


@pytest.fixture(autouse=True)
def runs(trained, monkeypatch, tmp_path):
    """They, each test with its own copy, in the folder it works in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    shutil.copytree(trained, tmp_path / "runs")


def pictures_of(folder):
    return {path.stem for path in Path(folder).iterdir() if path.suffix in (".png", ".svg")}


@pytest.mark.filterwarnings("ignore::widevalley.valley.samplers.NotMixed")
def test_flatness_of_two_seeds(capsys):
    runs = ["runs/tiny/paper/seed-0", "runs/tiny/paper/seed-1"]
    assert main(["flatness", runs[0], *QUICK, "--to", "out"]) == 0
    (first,) = load_flatness(Path("out/flatness.json"))
    assert main(["flatness", "runs/tiny/paper", *QUICK, "--to", "out"]) == 0
    out = capsys.readouterr().out
    assert out.count("paper/seed-0: trace") == 1, "a measure that is there was made again"
    found = load_flatness(Path("out/flatness.json"))
    assert [each.run for each in found] == ["paper/seed-0", "paper/seed-1"]
    laplace = first.measures["entropy walls 30"]
    assert laplace.degrees < 100  # of a few probes, which widen intervals
    assert found[0] == first or math.isnan(first.measures["entropy gradient 30"].error)
    measures = found[1].measures
    assert measures["largest eigenvalue"].value <= measures["trace"].value * 1.5
    near, far = (measures[f"entropy rise {gamma}"].value for gamma in (100, 30))
    assert abs(near) < abs(far), "the nearer one looks, the less the walls add"
    assert found[1].facts["settings"]["beta"] == 100
    heads, rows = flatness_cells(found)
    assert heads == ["measure", "paper (2)"]
    assert len(rows) == len(measures)
    assert (Path("out/table.md")).read_text().count("\n") == len(rows) + 2
    assert pictures_of("out") == {"flatness"}
    assert pictures_of("out/traces") == {"paper-seed-0", "paper-seed-1"}
    trace = Chains.load(Path("out/traces/paper-seed-0/gamma-30.npz"))
    assert trace.loss.shape == (2, 20)
    assert trace.facts["gamma"] == 30


def test_two_processes_share_a_file():
    """What another process wrote while a run was measured stays."""
    config = FlatnessConfig(samples=40, threads=1, chains=0, energies=3)
    one, other = (RunFolder(Path(f"runs/tiny/paper/seed-{k}")) for k in (0, 1))

    def meanwhile(said):
        if "noise" in said:
            measure_flatness([other], config, Path("out"))

    file = measure_flatness([one], config, Path("out"), progress=meanwhile)
    assert [each.run for each in load_flatness(file)] == ["paper/seed-1", "paper/seed-0"]


def test_scopes_below_negative_curvature_have_no_laplace(capsys):
    scopes = ["--gammas", "1e-6", "100", "--chains", "0"]
    assert main(["flatness", "runs/tiny/paper/seed-0", *FEW, *scopes, "--to", "out"]) == 0
    assert "no expansion at scopes up to" in capsys.readouterr().out
    measures = load_flatness(Path("out/flatness.json"))[0].measures
    assert "entropy rise 100" in measures
    assert "entropy rise 1e-06" not in measures


def test_flatness_without_walks_and_other_settings(capsys):
    assert main(["flatness", "runs/tiny/paper", *QUICK, "--chains", "0", "--to", "out"]) == 0
    assert not any("walk" in name for name in load_flatness(Path("out/flatness.json"))[0].measures)
    assert main(["flatness", "runs/tiny/paper", *FEW, "--to", "out"]) == 2
    assert "flatness.json: holds measures by other settings" in capsys.readouterr().err


def test_slices_line_and_planes():
    one, two = "runs/tiny/paper/seed-0", "runs/tiny/paper/seed-1"
    few = [*FEW, "--points", "5", "--to", "out"]
    assert main(["landscape", one, *few, "--directions", "2"]) == 0
    slices = Slice.load(Path("out/slices.npz"))
    assert slices.loss.shape == (3, 5)
    np.testing.assert_allclose(slices.loss[:, 2], slices.facts["loss"], rtol=1e-4)
    parabola = slices.facts["parabola"]
    assert parabola["curvature"] == pytest.approx(2 * slices.facts["loss"], rel=1e-3)
    assert main(["landscape", one, two, *few]) == 0
    line = Slice.load(Path("out/line.npz"))
    assert line.marks == {"paper/seed-0": (0.0,), "paper/seed-1": (1.0,)}
    again = [Slice.load(Path(f"out/around-{k}.npz")) for k in (1, 2)]
    assert [each.loss.shape for each in again] == [(5, 5), (5, 5)]
    assert again[0].loss[2, 2] == pytest.approx(again[0].facts["loss"], rel=1e-4)
    assert pictures_of("out") == {"slices", "line", "around"}
    assert main(["train", "tiny", "--variant", "paper", "--seed", "2"]) == 0
    assert main(["landscape", one, two, "runs/tiny/paper/seed-2", *few]) == 0
    assert set(Slice.load(Path("out/plane.npz")).marks) == {f"paper/seed-{k}" for k in range(3)}


def test_the_line_passes_both_ends():
    ends = ["runs/tiny/paper/seed-0", "runs/tiny/paper/seed-1"]
    assert main(["landscape", *ends, *FEW, "--points", "5", "--to", "out"]) == 0
    line = Slice.load(Path("out/line.npz"))
    for end, at in zip(ends, (1, 3), strict=True):
        assert main(["landscape", end, *FEW, "--points", "3", "--to", "end"]) == 0
        loss = Slice.load(Path("end/slices.npz")).facts["loss"]
        assert line.loss[0, at] == pytest.approx(loss, rel=1e-4)


def test_runs_that_end_in_one_place_have_no_line_between_them(capsys):
    shutil.copytree("runs/tiny/paper/seed-0", "runs/tiny/same/seed-0")
    ends = ["runs/tiny/paper/seed-0", "runs/tiny/same/seed-0"]
    assert main(["landscape", *ends, *FEW, "--points", "5", "--to", "out"]) == 2
    assert "runs: end in one place, paper/seed-0, same/seed-0" in capsys.readouterr().err


def test_the_toy(capsys):
    assert main(["landscape", "toy", "--gammas", "1e-3", "--to", "out"]) == 0
    deepest, wide = ToyLandscape.load(Path("out/toy.npz")).minima()
    assert 800 < deepest < 820
    assert 200 < wide < 400
    assert pictures_of("out") == {"toy"}
    assert main(["landscape", "toy", "--gammas", "0"]) == 2
    assert "gamma=0.0: must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["flatness"], "flatness needs RUN FOLDERS right after it"),
        (["flatness", "elsewhere"], "elsewhere: neither a run folder nor one with runs"),
        (["flatness", *["runs/tiny/paper/seed-0"] * 2], "two have one name and seed"),
        (["landscape"], "landscape needs toy, or one to three RUN FOLDERS"),
        (["landscape", "a", "b", "c", "d"], "landscape needs toy, or one to three RUN FOLDERS"),
        (["landscape", "runs/tiny/paper/seed-0", "--points", "2"], "points=2: must be at least 3"),
        (["landscape", "runs/tiny/paper/seed-0", "--reach", "0"], "reach=0.0: must be above 0"),
        (["landscape", *["runs/tiny/paper/seed-0"] * 3, *FEW], "two have one name and seed"),
        (["landscape", *["runs/tiny/paper/seed-0"] * 2, *FEW], "two have one name and seed"),
        (["theory", "--from", "x"], "--from"),
        (
            ["flatness", "runs/tiny/paper", "--radii", "nan"],
            "radii=(nan,): must be above 0",
        ),
        (
            ["harden", *["runs/tiny/paper/seed-0"] * 2, "--tuning", "0"],
            "two have one name and seed",
        ),
        (["pac-bayes", *["runs/tiny/paper/seed-0"] * 2], "two have one name and seed"),
        (["harden", "runs/tiny/paper", "--draws", "0"], "draws=0: must be at least 1"),
    ],
)
def test_bad_lines(line, message, capsys):
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert not {"flatness", "hardening"} & {path.name for path in Path("runs").iterdir()}


def test_a_file_that_is_no_measures(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/flatness.json").write_text(json.dumps([{"run": "x"}]))
    assert main(["flatness", "runs/tiny/paper", *FEW, "--to", "out"]) == 2
    assert "flatness.json: not a file of flatness measures" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_of_theory_is_what_the_checks_give(tmp_path):
    """Numbers may differ in their last digit from machine to machine."""
    assert main(["theory", "--to", "theory.md"]) == 0
    page = Path(__file__).parents[1] / "docs/theory.md"
    number = r"\d+\.?\d*(?:e-?\d+)?"
    made, kept = ((tmp_path / "theory.md").read_text(), page.read_text())
    assert re.sub(number, "#", made) == re.sub(number, "#", kept)
    found, expected = ([float(n) for n in re.findall(number, text)] for text in (made, kept))
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-3)
