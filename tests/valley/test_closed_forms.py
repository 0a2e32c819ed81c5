"""Local entropy by quadrature and in closed form, against each other and against SciPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from widevalley.valley.entropy import QuadraticLoss, local_entropy_on_grid

LINE = torch.linspace(-15, 15, 3001, dtype=torch.float64)


def rough(x):
    xp = torch if isinstance(x, torch.Tensor) else np
    return 0.3 * x**2 + xp.sin(3 * x) + 0.2 * xp.cos(11 * x)


@pytest.mark.parametrize("gamma", [0.3, 2.0, 50.0])
@pytest.mark.parametrize("beta", [1.0, 7.0])
def test_one_dimension_against_scipy(gamma, beta):
    found = local_entropy_on_grid(rough(LINE), [LINE], gamma, beta=beta)
    for k in (1200, 1500, 1777):
        x = float(LINE[k])

        def density(y, x=x):
            return math.exp(-beta * (float(rough(np.float64(y))) + gamma / 2 * (x - y) ** 2))

        pieces = [quad(density, a, a + 0.25)[0] for a in np.arange(-15, 15, 0.25)]
        expected = math.log(math.fsum(pieces)) / beta
        assert float(found[k]) == pytest.approx(expected, abs=1e-6)


def test_a_large_scope_gives_back_the_landscape():
    """-F + (1/2 beta) log(2 pi / beta gamma) tends to f, and a small one to a constant."""
    gamma = 2e4
    found = -local_entropy_on_grid(rough(LINE), [LINE], gamma)
    shift = 0.5 * math.log(2 * math.pi / gamma)
    inner = slice(500, 2500)
    torch.testing.assert_close((found + shift)[inner], rough(LINE)[inner], atol=5e-3, rtol=0)
    flat = local_entropy_on_grid(rough(LINE), [LINE], 1e-9)
    assert float(flat.max() - flat.min()) < 1e-6


def quadratics(n):
    numbers = st.integers(0, 10_000).map(lambda s: torch.Generator().manual_seed(s))

    def made(generator):
        root = torch.randn(n, n, generator=generator, dtype=torch.float64)
        minimum = torch.randn(n, generator=generator, dtype=torch.float64)
        return QuadraticLoss(root @ root.T / n - 0.1 * torch.eye(n), minimum, 0.7)

    return numbers.map(made)


@settings(deadline=None, max_examples=4)
@given(quadratics(2), st.floats(0.4, 5), st.floats(0.5, 3))
def test_two_dimensions_against_the_closed_form(quadratic, gamma, beta):
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
    found = local_entropy_on_grid(quadratic(points), [axis, axis], gamma, beta=beta)
    for i, j in ((120, 120), (115, 124)):
        expected = quadratic.local_entropy(points[i, j], gamma, beta=beta)
        assert float(found[i, j]) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(quadratics(4), st.floats(0.3, 5), st.floats(0.5, 3))
def test_the_gradient_is_that_of_the_value(quadratic, gamma, beta):
    x, h = torch.ones(4, dtype=torch.float64), 1e-5
    differences = [
        quadratic.local_entropy(x + h * e, gamma, beta=beta)
        - quadratic.local_entropy(x - h * e, gamma, beta=beta)
        for e in torch.eye(4, dtype=torch.float64)
    ]
    slope = torch.tensor(differences) / (2 * h)
    torch.testing.assert_close(quadratic.gradient(x, gamma), slope.double(), atol=1e-7, rtol=1e-5)


def test_the_slope_along_gamma_is_half_the_mean_square_distance():
    """dF/dgamma = -1/2 <|x' - x|^2>, with the law's own mean and covariance."""
    hessian = torch.diag(torch.tensor([0.5, 1.0, 3.0]))
    quadratic = QuadraticLoss(hessian, torch.tensor([0.2, 0.0, -1.0]))
    x, gamma, beta, h = torch.ones(3), 0.8, 2.0, 1e-5
    ends = [quadratic.local_entropy(x, gamma + s * h, beta=beta) for s in (1, -1)]
    covariance = torch.linalg.inv(hessian.double() + gamma * torch.eye(3).double()) / beta
    away = quadratic.mean(x, gamma) - x
    expected = -0.5 * float(covariance.trace() + away @ away)
    assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma=0.0: must be above 0"),
        ({"beta": -1.0}, "beta=-1.0: must be above 0"),
        ({"axes": [LINE[:5]]}, r"values: must be of shape \(5,\)"),
        ({"axes": [LINE**3]}, r"axes\[0\]: must be evenly spaced"),
        ({"axes": [LINE.flip(0)]}, r"axes\[0\]: must be evenly spaced, ascending"),
        ({"axes": [LINE[:1]], "values": rough(LINE)[:1]}, "ascending, of two or more"),
    ],
)
def test_bad_grids(arguments, message):
    default = {"values": rough(LINE), "axes": [LINE], "gamma": 1.0}
    with pytest.raises(ValueError, match=message):
        local_entropy_on_grid(**(default | arguments))


def test_an_integral_that_diverges_is_refused():
    quadratic = QuadraticLoss(torch.diag(torch.tensor([-0.5, 1.0])), torch.zeros(2))
    assert np.isfinite(quadratic.local_entropy(torch.ones(2), 0.6))
    for diverging in (quadratic.local_entropy, quadratic.mean, quadratic.gradient):
        with pytest.raises(ValueError, match=r"gamma=0.5: must be above 0.5"):
            diverging(torch.ones(2), 0.5)
