"""Pictures and tables of spectra, from their files alone."""

import numpy as np
import pytest

from widevalley.report import draw_density, draw_fisher, draw_spectrum, spectrum_cells
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum

FACTS = {
    "recipe": "small-lenet",
    "optimizer": "adam",
    "judged": ["error, %", 2.41],
    "loss": 0.0773,
    "dtype": "float64",
    "seconds": 90.0,
    "peak_bytes": 3 * 2**30,
}
RNG = np.random.default_rng(0)


def spectrum(**kwargs):
    values = np.sort(np.concatenate([RNG.normal(0, 1e-4, 500), [-0.4, 3.0, 40.0]]))
    return Spectrum(values, 600, {}, FACTS, **kwargs)


def check(paths):
    assert [path.suffix for path in paths] == [".png", ".svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_text().startswith("<?xml")


@pytest.mark.parametrize("probed", [np.empty(0), np.array([-1.0, 2.0, 30.0])])
def test_spectrum(tmp_path, probed):
    file = tmp_path / "spectrum.npz"
    spectrum(probed=probed).save(file)
    check(draw_spectrum(file))


def test_a_spectrum_without_negative_values(tmp_path):
    file = tmp_path / "spectrum.npz"
    Spectrum(np.linspace(0, 1, 50), 50, {}, FACTS).save(file)
    check(draw_spectrum(file))


def test_density(tmp_path):
    file = tmp_path / "density.npz"
    values = np.sort(RNG.normal(0, 1, (4, 20)), axis=1)
    Density(values, np.full((4, 20), 1 / 20), np.zeros((4, 20)), 1000, FACTS).save(file)
    check(draw_density(file))


def test_fisher(tmp_path):
    file = tmp_path / "fisher.npz"
    FisherDiagonal(RNG.random(100), RNG.normal(0, 1e-6, 100), FACTS).save(file)
    check(draw_fisher(file))


def test_cells():
    heads, (row,) = spectrum_cells([spectrum()])
    told = dict(zip(heads, row, strict=True))
    assert told["network"] == "small-lenet"
    assert told["structural zeros"] == "97"
    assert told["loss"] == "0.0773"
    assert told["largest"] == "40"
    assert told["most negative"] == "-0.4"
    assert told["|λ| < 0.01"] == f"{100 * 597 / 600:.2f} %"
    assert told["peak GiB"] == "3.0"


def test_a_file_of_something_else_is_named(tmp_path):
    file = tmp_path / "spectrum.npz"
    for content in (b"junk", b""):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"spectrum\.npz: not a file of numbers written here"):
            draw_spectrum(file)
    np.savez(file, values=np.zeros(3))
    with pytest.raises(ValueError, match="not a file of numbers written here"):
        draw_spectrum(file)
