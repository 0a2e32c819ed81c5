"""`widevalley spectrum`: files, lines, and what it says of bad command lines."""

import pytest

from widevalley.cli import main
from widevalley.experiments import RECIPES
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum

from .experiments.test_measure_spectrum import TINY

FEW = ["--samples", "40", "--threads", "1"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "tiny", TINY)


def test_every_eigenvalue_of_a_recipe(capsys, tmp_path):
    assert main(["spectrum", "tiny", *FEW, "--probes", "7"]) == 0
    out = capsys.readouterr().out
    assert "columns done; now their eigenvalues" in out
    assert "largest:" in out
    assert "written: runs/tiny/paper/seed-0/spectrum.svg" in out
    folder = tmp_path / "runs/tiny/paper/seed-0"
    found = Spectrum.load(folder / "spectrum.npz")
    assert len(found.probed) == 7
    assert found.facts["command"]
    assert not (folder / "blocks").exists()


def test_density_and_fisher_of_a_run_elsewhere(capsys, tmp_path):
    main(["spectrum", "tiny", *FEW])
    run = "runs/tiny/paper/seed-0"
    density = ["--method", "density", "--steps", "5", "--to", "out"]
    assert main(["spectrum", run, *FEW, *density]) == 0
    assert Density.load(tmp_path / "out/density.npz").values.shape == (16, 5)
    assert main(["spectrum", run, *FEW, "--method", "fisher", "--to", "out"]) == 0
    assert FisherDiagonal.load(tmp_path / "out/fisher.npz").exact.min() >= 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    suffixes = ("npz", "png", "svg")
    assert names == {f"{name}.{suffix}" for name in ("density", "fisher") for suffix in suffixes}


def test_a_stopped_build_goes_on(monkeypatch, tmp_path):
    main(["spectrum", "tiny", *FEW])
    first = Spectrum.load(tmp_path / "runs/tiny/paper/seed-0/spectrum.npz").values

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("widevalley.valley.hessian.full_spectrum.eigenvalues_", stop)
    assert main(["spectrum", "tiny", *FEW, "--to", "out"]) == 130
    assert len(list((tmp_path / "out/blocks").iterdir())) > 2
    assert main(["spectrum", "tiny", "--samples", "39", "--to", "out"]) == 2
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    assert main(["spectrum", "tiny", *FEW, "--to", "out"]) == 0
    assert (Spectrum.load(tmp_path / "out/spectrum.npz").values == first).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "spectrum needs a RUN FOLDER or RECIPE"),
        (["nowhere"], "'nowhere': neither a run folder nor one of digits"),
        (["tiny", "--samples", "0"], "samples=0: must be from 1"),
        (["tiny", "--dtype", "bf16"], "dtype"),
        (["tiny", "--method", "density", "--steps", "0"], "steps=0: must be at least 1"),
    ],
)
def test_bad_command_lines(arguments, said, capsys):
    assert main(["spectrum", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_does_not_fit_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("widevalley.valley._memory.free_bytes", lambda device: 10**6)
    assert main(["spectrum", "tiny", *FEW]) == 1
    assert "widevalley: needs" in capsys.readouterr().err
