"""All eigenvalues in place, against NumPy, by every route."""

import numpy as np
import pytest
import torch

from widevalley.valley.hessian import SpectrumError, _openblas, eigenvalues_, eigvalsh


def symmetric(n, seed=0):
    matrix = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return matrix + matrix.T


ROUTES = ["lapack", "scipy", "torch"]


@pytest.fixture(params=ROUTES)
def route(request, monkeypatch):
    if request.param == "lapack":
        if eigvalsh.syevd_2stage(torch.eye(2)) is None:
            pytest.skip("this NumPy has no 64-bit OpenBLAS of its own")
        return
    monkeypatch.setattr(_openblas, "_symbol", lambda name: None)
    if request.param == "torch":
        monkeypatch.setitem(__import__("sys").modules, "scipy.linalg", None)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize("n", [0, 1, 2, 33, 300])
def test_eigenvalues(n):
    matrix = symmetric(n)
    expected = np.linalg.eigvalsh(matrix.numpy())
    found = eigenvalues_(matrix.clone()).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-11)
    rough = eigenvalues_(matrix.float())
    assert rough.dtype == torch.float32
    np.testing.assert_allclose(rough.numpy(), expected, atol=1e-3)


@pytest.mark.usefixtures("route")
def test_only_the_lower_triangle_is_read():
    matrix = symmetric(20)
    expected = np.linalg.eigvalsh(matrix.numpy())
    spoiled = matrix.tril() + torch.full_like(matrix, 9.0).triu(1)
    np.testing.assert_allclose(eigenvalues_(spoiled).numpy(), expected, atol=1e-12)


@pytest.mark.usefixtures("route")
def test_what_is_not_finite_raises():
    matrix = symmetric(10)
    matrix[3, 2] = torch.nan
    with pytest.raises(SpectrumError):
        eigenvalues_(matrix)


@pytest.mark.parametrize(
    "matrix", [torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.int64), torch.zeros(4, 4)[::2, ::2]]
)
def test_bad_input(matrix):
    with pytest.raises(ValueError, match="matrix: must be square, contiguous, float32 or float64"):
        eigenvalues_(matrix)
