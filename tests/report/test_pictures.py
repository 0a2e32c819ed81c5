"""Pictures drawn again from what stands beside them."""

import numpy as np

from widevalley.cli import main
from widevalley.report import find_groups, write_results
from widevalley.report.curves import short_names
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
