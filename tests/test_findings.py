"""docs/findings.md says what results/ say: its numbers are read from there."""

import re

import pytest
import write_findings

from widevalley.valley.hessian import Spectrum


@pytest.fixture(scope="module")
def numbers():
    return write_findings.numbers()


def mean(shown):
    return float(shown.split(" ± ")[0])


def test_the_page_is_up_to_date():
    kept = (write_findings.DOCS / "findings.md").read_text()
    assert kept == write_findings.page(), "run: make docs"


def test_numbers_are_those_of_the_tables_beside_the_runs(numbers):
    """Tables that other code made from the same folders."""
    results = write_findings.RESULTS
    rows = (results / "paper/table.md").read_text()
    for network, name in (("mnistfc", "tuned"), ("lenet", "paper"), ("charlstm", "best")):
        (row,) = re.findall(rf"^\| {network} {name} \|.*$", rows, flags=re.MULTILINE)
        assert numbers[f"{network} {name}"] in row
    widths = (results / "studies/flatness/mnistfc/table.md").read_text()
    (row,) = re.findall(r"^\| largest eigenvalue \|.*$", widths, flags=re.MULTILINE)
    expected = [float(cell.split(" ± ")[0]) for cell in row.split("|")[2:-1]]
    found = [mean(numbers[f"largest eigenvalue of {n}"]) for n in ("entropy-sgd", "sgd", "adam")]
    assert found == pytest.approx(expected, abs=0.005)
    bounds = (results / "pac-bayes/table.md").read_text()
    assert numbers["table of bounds"] in bounds
    sweep = (results / "studies/lenet/sweeps/entropy-sgd/table.md").read_text()
    (row,) = re.findall(r"^\|[^|]*noise=0.01 .*$", sweep, flags=re.MULTILINE)
    assert f"| {numbers['lenet at noise 1e-2']} |" in row


def test_the_share_of_zeros_is_counted_from_the_eigenvalues(numbers):
    spectrum = Spectrum.load(write_findings.RESULTS / "spectra/small-lenet/spectrum.npz")
    small = (abs(spectrum.values) < 1e-4).sum() + spectrum.structural_zeros
    assert numbers["small-lenet below 1e-4"] == f"{100 * small / 47_658:.1f}"
    assert numbers["small-lenet zero by rank"] == f"{100 * (47_658 - 3200) / 47_658:.1f}"


def test_a_name_without_a_number_is_an_error(monkeypatch, tmp_path):
    text = tmp_path / "findings.in"
    text.write_text("{largest of nothing}")
    monkeypatch.setattr(write_findings, "DOCS", tmp_path)
    with pytest.raises(KeyError, match="largest of nothing"):
        write_findings.page()


def test_links_point_at_files():
    page = write_findings.DOCS / "findings.md"
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
