"""Curves between minima, and sharpness that no rescaling changes."""

import numpy as np
import pytest
import torch
from torch import nn

from widevalley.valley import Objective
from widevalley.valley.landscape import (
    BezierCurve,
    fit_curve,
    lines,
    loss_along,
    sharpness,
)


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.0], dtype=torch.float64))

    def forward(self, x):
        return self.weight


def ring(w, _):
    return (w.square().sum() - 1).square()


@pytest.fixture
def objective():
    return Objective(Point(), ring, [(torch.zeros(1, 1), torch.zeros(1, 1))])


def test_a_curve_goes_round_where_the_line_goes_over(objective):
    """Minima on a ring: the line between opposite ones passes its centre, of loss 1."""
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    calls = []
    curve = fit_curve(
        objective, start, -start, steps=600, lr=0.05, progress=lambda *n: calls.append(n)
    )
    steps = np.linspace(0, 1, 21).tolist()
    along = loss_along(objective, curve, steps)
    over = lines(objective, [-2 * start], steps)
    assert over.loss.max() == pytest.approx(1)
    assert along.loss.max() < 0.06
    assert torch.equal(curve.at(0.0), start)
    assert torch.equal(curve.at(1.0), -start)
    assert float(curve.at(0.5).norm()) == pytest.approx(1, abs=0.15)
    assert calls[-1] == (600, 600)


def test_a_curve_is_beziers():
    a, b, c = torch.randn(3, 4, dtype=torch.float64)
    curve = BezierCurve(a, b, c)
    one, two = a + 0.3 * (b - a), b + 0.3 * (c - b)
    torch.testing.assert_close(curve.at(0.3), one + 0.3 * (two - one))  # de Casteljau


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": torch.zeros(3)}, r"start: must be of shape \(2,\), not \(3,\)"),
        ({"lr": 0.0}, "lr=0.0: must be above 0"),
        ({"steps": 0}, "steps=0: must be at least 1"),
    ],
)
def test_bad_curves(objective, change, message):
    point = torch.zeros(2, dtype=torch.float64)
    arguments = {"start": point, "end": point + 1} | change
    with pytest.raises(ValueError, match=message):
        fit_curve(objective, **arguments)


def rescaled():
    """A ReLU network, and the same function with layers that traded their scale."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    data = [(torch.randn(20, 4), torch.randint(3, (20,)))]
    first = Objective(module, nn.CrossEntropyLoss(), data, dtype=torch.float64)
    with torch.no_grad():
        module[0].weight *= 10
        module[2].weight /= 10
    return first, Objective(module, nn.CrossEntropyLoss(), data, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 10])
def test_adaptive_sharpness_does_not_change_when_layers_trade_their_scale(steps):
    adaptive = [sharpness(o, 0.3, steps=steps, adaptive=True) for o in rescaled()]
    assert adaptive[0] == pytest.approx(adaptive[1], rel=1e-4)
    plain = [sharpness(o, 0.3, steps=steps) for o in rescaled()]
    assert abs(plain[0] / plain[1] - 1) > 0.5


def test_adaptive_sharpness_is_asams_step_and_ascends():
    first, _ = rescaled()
    x, g, radius = first.flat_weights, first.gradient(), 0.2
    step = radius * x.square() * g / (x * g).norm()
    assert sharpness(first, radius, adaptive=True) == pytest.approx(
        first.value_at(x + step) - first.value()
    )
    worst = sharpness(first, radius, steps=40, adaptive=True)
    random = torch.randn(2000, len(x), dtype=torch.float64)
    moves = radius * x * random / random.norm(dim=1, keepdim=True)
    highest = max(first.value_at(x + d) - first.value() for d in moves[:300])
    assert worst >= highest
