"""Pictures drawn again from what stands beside them."""

import json
import re

import numpy as np
import pytest

from widevalley import plot
from widevalley.cli import main
from widevalley.report import find_groups, write_results
from widevalley.report.curves import short_names
from widevalley.report.page import write_page
from widevalley.report.page_pictures import pictures_in
from widevalley.valley.hessian import Spectrum
from widevalley.valley.landscape import Slice, toy_landscape

from .test_report import write_run
from .test_spectrum_figures import FACTS


def test_every_picture_with_numbers_is_drawn_again_and_the_others_are_told(tmp_path, capsys):
    results = tmp_path / "results"
    for seed in range(2):
        write_run(tmp_path / "runs", "sgd", seed, [20.0, 10.0 + seed])
    write_results(find_groups(tmp_path / "runs"), "Digits", results / "digits")
    (results / "figure-2").mkdir()
    toy_landscape((1e-3,)).save(results / "figure-2/toy.npz")
    Spectrum(np.linspace(-1, 1, 9), 9, {}, FACTS).save(results / "spectrum.npz")
    steps = np.linspace(-1, 1, 4)
    facts = {"recipe": "digits", "run": "sgd/seed-0", "samples": 10, "dtype": "float32"}
    for k in (1, 2):
        found = Slice((steps, steps), 1 + np.add.outer(steps**2, steps**2), {}, facts)
        found.save(results / f"around-{k}.npz")
    (results / "alone.png").write_bytes(b"")
    curves = results / "digits/curves.png"
    before, _ = curves.read_bytes(), curves.unlink()
    curves.write_bytes(b"old")
    assert main(["pictures", str(results)]) == 0
    drawn, left = [], []
    for line in capsys.readouterr().out.splitlines():
        what, path = line.rsplit(": ", 1)
        (drawn if what == "drawn" else left).append(path.removeprefix(f"{results}/"))
    whole = [f"{name}.{suffix}" for name in ("around", "spectrum") for suffix in ("png", "svg")]
    assert set(drawn) == {"digits/curves.png", "figure-2/toy.png", "figure-2/toy.svg", *whole}
    assert left == ["alone.png"]
    assert curves.read_bytes() == before
    assert main(["pictures", str(tmp_path / "nowhere")]) == 2


def test_points_of_a_sweep_are_named_by_what_tells_them_apart():
    names = ["optimizer.lr=0.1,dropout=0.3", "optimizer.lr=0.2,dropout=0.3"]
    assert list(short_names(names).values()) == ["lr=0.1", "lr=0.2"]
    assert short_names(["paper, adam", "best, sgd"])["best, sgd"] == "best, sgd"
    assert short_names(["sgd"]) == {"sgd": "sgd"}


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, capsys):
    toy_landscape((1e-3,)).save(tmp_path / "spectrum.npz")
    assert main(["pictures", str(tmp_path)]) == 2
    assert "spectrum.npz: holds no Spectrum" in capsys.readouterr().err
    with pytest.raises(ValueError, match="spectrum.npz: holds no Spectrum"):
        pictures_in(tmp_path)


def test_a_spectrum_of_nothing_but_zeros_has_a_picture(tmp_path):
    nothing = Spectrum(np.empty(0), size=10, facts=FACTS)
    plot.figure(nothing)
    nothing.save(tmp_path / "spectrum.npz")
    (picture,) = pictures_in(tmp_path)
    assert sum(picture["traces"][0]["y"]) == 10


def test_an_infinite_loss_leaves_a_gap_in_the_page(tmp_path):
    loss = np.array([[1.0, np.inf, 2.0]])
    Slice((np.arange(3.0),), loss).save(tmp_path / "slices.npz")
    Slice((np.arange(3.0), np.arange(1.0)), loss.T).save(tmp_path / "plane.npz")
    write_run(tmp_path, "sgd", 0, [20.0, 10.0])
    write_page(
        find_groups(tmp_path), "title", tmp_path / "page.html", pictures=pictures_in(tmp_path)
    )
    data = re.search(r'json">(.*?)</script>', (tmp_path / "page.html").read_text())[1]
    lines, plane = (
        next(p for p in json.loads(data)["pictures"] if p["name"] == name)
        for name in ("slices", "plane")
    )
    assert lines["traces"][0]["y"] == [1.0, None, 2.0]
    assert plane["traces"][0]["z"] == [[0.0, None, pytest.approx(0.30103)]]


def test_a_plane_of_small_losses_shows_their_differences(tmp_path):
    loss = 10.0 ** np.arange(-9.0, -4)[:, None]
    Slice((np.arange(5.0), np.arange(1.0)), loss).save(tmp_path / "plane.npz")
    (plane,) = pictures_in(tmp_path)
    assert plane["traces"][0]["z"][0] == pytest.approx([-9, -8, -7, -6, -5])
