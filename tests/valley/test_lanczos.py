"""Lanczos, quadrature, extremes and traces on matrices whose spectra are known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from widevalley.valley import Hessian, Objective, extreme_eigenvalues, spectral_density, trace
from widevalley.valley.hessian import DenseOperator, top_eigenvectors
from widevalley.valley.hessian.lanczos import Lanczos

from .cases import CASES, made


def matrix_of(values, seed=0):
    """A dense matrix with these eigenvalues, in a random basis."""
    n = len(values)
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=generator))
    matrix = basis * torch.as_tensor(values, dtype=torch.float64) @ basis.T
    return DenseOperator((matrix + matrix.T) / 2)


def like_a_network(n=400):
    """Most eigenvalues near zero, a few large, a few slightly negative."""
    rng = np.random.default_rng(0)
    return np.sort(np.concatenate([rng.normal(0, 1e-3, n - 20), np.linspace(1, 10, 20)]))


def test_ritz_values_of_a_full_run_are_the_eigenvalues():
    values = np.linspace(-1, 2, 30)
    run = Lanczos(matrix_of(values), torch.randn(30, dtype=torch.float64), 100)
    while not run.exhausted:
        run.step()
    ritz, weights, _ = run.tridiagonal().ritz()
    np.testing.assert_allclose(ritz, values, atol=1e-12)
    assert weights.sum() == pytest.approx(1)


def test_it_stops_where_the_space_is_exhausted():
    values = np.array([1.0, 1.0, 1.0, 5.0, 5.0, 9.0])
    run = Lanczos(matrix_of(values), torch.randn(6, dtype=torch.float64), 6)
    while not run.exhausted:
        run.step()
    assert run.steps == 3
    np.testing.assert_allclose(run.tridiagonal().ritz()[0], [1, 5, 9], atol=1e-12)


@pytest.mark.parametrize("power", [1, 2, 3, 9])
def test_quadrature_is_exact_for_polynomials(power):
    """v^T A^p v for p below twice the steps, from one start."""
    operator = matrix_of(np.linspace(-1, 1, 40))
    density = spectral_density(operator, steps=5, probes=1, seed=3)
    v = torch.randn(40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    v /= v.norm()
    expected = float(v @ torch.linalg.matrix_power(operator.matrix, power) @ v)
    assert density.mean(lambda x: x**power)[0] == pytest.approx(expected, abs=1e-12)


def test_moments_lie_within_their_errors():
    values = like_a_network()
    density = spectral_density(matrix_of(values), steps=30, probes=64)
    for power in (1, 2, 4):
        mean, error = density.mean(lambda x, p=power: x**p)
        assert abs(mean - (values**power).mean()) < 4 * error
        assert error < 0.2 * mean


def distance(density, values):
    shares = (density.weights / len(density.weights)).ravel()
    return wasserstein_distance(density.values.ravel(), values, u_weights=shares)


def test_probes_sharpen_the_density():
    values = like_a_network()
    operator = matrix_of(values)
    one, many = (spectral_density(operator, steps=40, probes=k, seed=1) for k in (1, 64))
    assert distance(many, values) < 0.01 * values.max()
    assert distance(many, values) < distance(one, values)


def test_the_ends_lie_within_their_bounds():
    values = like_a_network()
    density = spectral_density(matrix_of(values), steps=25, probes=3)
    for (found, bound), expected in (
        (density.largest, values.max()),
        (density.smallest, values.min()),
    ):
        assert abs(found - expected) <= bound + 1e-12
        assert bound < 0.1 * values.max()


def test_the_smoothed_density_integrates_to_one():
    density = spectral_density(matrix_of(like_a_network()), steps=30, probes=4)
    grid = np.linspace(-3, 14, 20_000)
    assert np.trapezoid(density.smoothed(grid, 0.1), grid) == pytest.approx(1, abs=1e-6)
    each = density.smoothed_each(grid, 0.1)
    assert each.shape == (4, len(grid))
    np.testing.assert_allclose(np.trapezoid(each, grid, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(each.mean(axis=0), density.smoothed(grid, 0.1))


@pytest.mark.slow
def test_float32_products_of_a_network():
    module, loss, batches = made(CASES[0])
    exact = Hessian(Objective(module, loss, batches), keep_graphs=True)
    rough = Hessian(Objective(module, loss, batches, dtype=torch.float32))
    values = np.linalg.eigvalsh((exact @ torch.eye(exact.size, dtype=torch.float64)).numpy())
    assert distance(spectral_density(exact, steps=39, probes=200), values) < 0.03 * values.max()
    found = extreme_eigenvalues(rough, tolerance=1e-4)
    density = spectral_density(rough, steps=39, probes=2)
    assert density.largest[1] > 1e-7 * values[-1], "no bound is below the products' rounding"
    assert abs(density.largest[0] - values[-1]) < density.largest[1]
    assert found.largest[0] == pytest.approx(values[-1], rel=1e-4)


def test_the_same_seed_gives_the_same_density():
    operator = matrix_of(like_a_network())
    a, b, c = (spectral_density(operator, steps=9, probes=2, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.values, b.values)
    assert not np.array_equal(a.values, c.values)


def test_extremes_lie_within_their_bounds():
    values = like_a_network()
    found = extreme_eigenvalues(matrix_of(values), 3, tolerance=1e-9, steps=400)
    np.testing.assert_allclose(found.largest, values[::-1][:3], atol=1e-7)
    assert found.steps < 400
    early = extreme_eigenvalues(matrix_of(values), 2, steps=12)
    assert early.steps == 12
    for value, bound in zip(early.smallest, early.smallest_bounds, strict=True):
        assert np.abs(values - value).min() <= bound


def test_progress_counts_products():
    calls = []
    spectral_density(
        matrix_of(like_a_network()), steps=4, probes=2, progress=lambda *n: calls.append(n)
    )
    assert calls == [(k, 8) for k in range(1, 9)]


@pytest.mark.parametrize("products", [30, 300, 2000])
def test_trace(products):
    values = like_a_network()
    found = trace(matrix_of(values), products=products, seed=2)
    assert abs(found.value - values.sum()) < 4 * found.error + 1e-9
    if products > 60:  # the large ones lie in the sketch
        assert found.error < 0.01 * values.sum()


def test_the_error_of_a_trace_is_that_of_its_scatter():
    operator = matrix_of(np.random.default_rng(0).normal(0, 1, 200))
    found = [trace(operator, products=15, seed=s) for s in range(200)]
    scatter = np.std([each.value for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(scatter, rel=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: spectral_density(a, steps=0), "steps=0: must be at least 1"),
        (lambda a: spectral_density(a, probes=0), "probes=0: must be at least 1"),
        (lambda a: extreme_eigenvalues(a, 0), "count=0: must be from 1 to 400"),
        (lambda a: extreme_eigenvalues(a, 9, steps=8), "steps=8: must be at least count=9"),
        (lambda a: trace(a, products=2), "products=2: must be at least 3"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(matrix_of(like_a_network()))


def test_one_probe_has_no_error():
    density = spectral_density(matrix_of(like_a_network()), steps=3, probes=1)
    assert math.isnan(density.mean(lambda x: x)[1])


def test_the_top_eigenvector():
    matrix = matrix_of(like_a_network())
    (value,), vector = top_eigenvectors(matrix, tolerance=1e-8)
    exact, vectors = torch.linalg.eigh(matrix.matrix)
    assert value == pytest.approx(float(exact[-1]), rel=1e-8)
    assert float((vector[:, 0] @ vectors[:, -1]).abs()) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("vectors", [8, 12, 400])
def test_ends_in_bounded_memory(vectors):
    """Restarts cost steps, not digits; the space never exceeds what is allowed."""
    values = np.sort(np.random.default_rng(0).normal(size=400) ** 3)
    matrix = matrix_of(values)
    found = extreme_eigenvalues(matrix, 2, tolerance=1e-9, steps=400, memory=8 * 400 * vectors)
    np.testing.assert_allclose(found.largest, values[::-1][:2], atol=1e-7)
    np.testing.assert_allclose(found.smallest, values[:2], atol=1e-7)
    assert found.steps < 400
    early = extreme_eigenvalues(matrix, 2, steps=30, memory=8 * 400 * vectors)
    for value, bound in zip(early.largest, early.largest_bounds, strict=True):
        assert np.abs(values - value).min() <= bound
    with pytest.raises(ValueError, match="memory=3200: must be at least 25600"):
        extreme_eigenvalues(matrix, 2, memory=8 * 400)


@pytest.mark.parametrize("memory", [8 * 400 * 10, 10**9])
def test_several_eigenvectors(memory):
    matrix = matrix_of(like_a_network())
    values, vectors = top_eigenvectors(matrix, 3, tolerance=1e-9, steps=400, memory=memory)
    exact, expected = torch.linalg.eigh(matrix.matrix)
    np.testing.assert_allclose(values, exact.numpy()[::-1][:3], rtol=1e-9)
    overlap = (vectors.T @ expected[:, [-1, -2, -3]]).abs()
    torch.testing.assert_close(overlap, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("memory", [0, 8 * 400 * 5, 10**9])
def test_a_trace_in_bounded_memory(memory):
    """What the space has no room for is estimated by signs; the products spent are the same."""
    values, calls = like_a_network(), []
    found = trace(
        matrix_of(values),
        products=60,
        chunk=7,
        memory=memory,
        progress=lambda *n: calls.append(n),
    )
    assert abs(found.value - values.sum()) < 4 * found.error + 1e-9
    assert calls[-1] == (60, 60)
