"""All eigenvalues of small networks, their checks, and their file."""

import numpy as np
import pytest
import torch

from widevalley.valley import Hessian, Objective, exact_spectrum, spectral_density
from widevalley.valley.hessian import (
    AssembledMatrix,
    Density,
    Spectrum,
    SpectrumError,
    full_spectrum,
    probed_values,
)

from .cases import CASES, every_case, made
from .test_assembly import dark_and_silent


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_eigenvalues_of_the_dense_matrix(case, dtype):
    module, loss, batches = made(case)
    exact = Hessian(Objective(module, loss, batches))
    expected = np.linalg.eigvalsh((exact @ torch.eye(exact.size, dtype=torch.float64)).numpy())
    found = exact_spectrum(Hessian(Objective(module, loss, batches, dtype=dtype)))
    every = np.sort(np.concatenate([found.values, np.zeros(found.structural_zeros)]))
    np.testing.assert_allclose(every, expected, atol=1e-12 if dtype == torch.float64 else 1e-6)
    assert set(found.checks) == {"asymmetry", "products", "trace", "frobenius"}


def test_shares_count_structural_zeros():
    found = exact_spectrum(Hessian(dark_and_silent()))
    assert found.structural_zeros == 2 * 4 + 6 + 1 - 2 + 3
    everything = np.concatenate([found.values, np.zeros(found.structural_zeros)])
    for magnitude in (1e-12, 1e-3, 1e-1):
        assert found.fraction_below(magnitude) == (np.abs(everything) < magnitude).mean()
    assert found.fraction_below(np.inf) == 1


@pytest.mark.parametrize("broken", ["assemble", "eigenvalues_"])
def test_a_wrong_result_is_refused(broken, monkeypatch):
    right = getattr(full_spectrum, broken)

    def wrong(*args, **kwargs):
        found = right(*args, **kwargs)
        values = found.values if broken == "assemble" else found
        values[0] += 1e-3
        return found

    monkeypatch.setattr(full_spectrum, broken, wrong)
    with pytest.raises(SpectrumError, match="the matrix or its eigenvalues are wrong"):
        exact_spectrum(Hessian(Objective(*made(CASES[0]))))


def test_probes_leave_zeros_whatever_the_matrix_is():
    """The full estimate, formed, has the eigenvalues said and n - k zeros."""
    n, k = 30, 7
    h = torch.randn(n, n, dtype=torch.float64)
    h = h + h.T
    found = probed_values(AssembledMatrix(h, torch.arange(n), n, 0.0), k, seed=5)
    z = torch.randn(n, k, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    full = np.linalg.eigvals((h @ z @ z.T / k).numpy())
    largest = np.sort(full[np.argsort(-np.abs(full))[:k]].real)
    np.testing.assert_allclose(found, largest, atol=1e-9)
    assert (np.abs(full) < 1e-9).sum() == n - k


def test_written_and_read_again(tmp_path):
    operator = Hessian(dark_and_silent())
    found = exact_spectrum(operator, probes=3)
    found.facts["network"] = "a network"
    found.save(tmp_path / "spectrum.npz")
    again = Spectrum.load(tmp_path / "spectrum.npz")
    assert np.array_equal(again.values, found.values)
    assert np.array_equal(again.probed, found.probed)
    assert (again.size, again.checks, again.facts) == (found.size, found.checks, found.facts)
    density = spectral_density(operator, steps=4, probes=2)
    density.save(tmp_path / "density.npz")
    read = Density.load(tmp_path / "density.npz")
    assert np.array_equal(read.weights, density.weights)
    assert read.size == density.size
