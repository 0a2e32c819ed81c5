"""Slices and planes of losses whose shape is known, flatness measures, and the toy of Fig. 2."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from widevalley.valley import Hessian, Objective
from widevalley.valley.entropy import local_entropy_on_grid
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum
from widevalley.valley.landscape import (
    Slice,
    ToyLandscape,
    lines,
    local_energy,
    plane,
    plane_through,
    random_direction,
    sharpness,
    toy_landscape,
)
from widevalley.valley.samplers import Chains

from .cases import CASES, made


@pytest.fixture
def quadratic():
    torch.manual_seed(0)
    x, y = torch.randn(30, 3).double(), torch.randn(30, 1).double()
    return Objective(nn.Linear(3, 1).double(), nn.MSELoss(), [(x, y)])


def matrix_of(objective):
    return Hessian(objective) @ torch.eye(objective.size, dtype=torch.float64)


def test_lines_are_parabolas_of_a_quadratic(quadratic):
    steps = np.linspace(-2, 2, 9)
    directions = [random_direction(quadratic, seed=s) for s in range(3)]
    found = lines(quadratic, directions, steps)
    matrix, slope = matrix_of(quadratic), quadratic.gradient()
    for direction, loss in zip(directions, found.loss, strict=True):
        bend, tilt = float(direction @ matrix @ direction), float(slope @ direction)
        expected = quadratic.value() + tilt * steps + bend / 2 * steps**2
        np.testing.assert_allclose(loss, expected)


def test_a_plane_holds_its_lines(quadratic):
    d1, d2 = (random_direction(quadratic, seed=s) for s in (0, 1))
    steps = [-1.0, 0.0, 0.5]
    found = plane(quadratic, d1, d2, (steps, [*steps, 2.0]))
    assert found.loss.shape == (3, 4)
    np.testing.assert_allclose(found.loss[:, 1], lines(quadratic, [d1], steps).loss[0])
    np.testing.assert_allclose(found.loss[1, :3], lines(quadratic, [d2], steps).loss[0])


def test_directions_have_the_length_of_each_filter():
    module, loss, batches = made(CASES[2])
    objective = Objective(module, loss, batches)
    parts = objective.unflatten(random_direction(objective))
    for name, weight in objective.weights.items():
        rows = (len(weight), -1) if weight.dim() > 1 else (1, -1)
        own, other = weight.reshape(rows).norm(dim=1), parts[name].reshape(rows).norm(dim=1)
        torch.testing.assert_close(other, own)


def test_a_picture_does_not_change_when_layers_trade_their_scale():
    """A ReLU network with one layer times ten and the next over ten is the same function."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False))
    data = [(torch.randn(20, 4), torch.randint(3, (20,)))]
    first = Objective(module, nn.CrossEntropyLoss(), data, dtype=torch.float64)
    with torch.no_grad():
        module[0].weight *= 10
        module[2].weight /= 10
    second = Objective(module, nn.CrossEntropyLoss(), data, dtype=torch.float64)
    slices = [lines(o, [random_direction(o)], [-1.0, 0.3, 1.0]).loss for o in (first, second)]
    np.testing.assert_allclose(*slices, rtol=1e-5)
    relative = [local_energy(o, 0.1, relative=True).value for o in (first, second)]
    assert relative[0] == pytest.approx(relative[1], rel=1e-4)
    absolute = [local_energy(o, 0.1).value for o in (first, second)]
    assert abs(absolute[0] / absolute[1] - 1) > 0.5


def test_the_plane_through_three_points_holds_them(quadratic):
    points = {name: torch.randn(4, dtype=torch.float64) for name in ("a", "b", "c")}
    first, second, places = plane_through(points)
    basis = torch.stack([first, second])
    torch.testing.assert_close(basis @ basis.T, torch.eye(2, dtype=torch.float64))
    for name, place in places.items():
        rebuilt = points["a"] + torch.tensor(place).double() @ basis
        torch.testing.assert_close(rebuilt, points[name], atol=1e-6, rtol=0)
    assert places["b"][0] > 0
    assert places["b"][1] == pytest.approx(0, abs=1e-12)
    assert places["c"][1] > 0
    line = {"a": points["a"], "b": points["b"], "c": 2 * points["b"] - points["a"]}
    with pytest.raises(ValueError, match="points: lie on one line"):
        plane_through(line)
    with pytest.raises(ValueError, match="points: must be three, not 2"):
        plane_through({"a": points["a"], "b": points["b"]})


def test_written_and_read_again(quadratic, tmp_path):
    direction = random_direction(quadratic)
    found = plane(quadratic, direction, direction, ([0.0, 1.0], [2.0]))
    found.marks["here"] = (0.5, 1.0)
    found.save(tmp_path / "slice.npz")
    again = Slice.load(tmp_path / "slice.npz")
    assert np.array_equal(again.loss, found.loss)
    assert [list(axis) for axis in again.coordinates] == [[0, 1], [2]]
    assert again.lengths == pytest.approx([float(direction.norm())] * 2)
    assert again.marks == {"here": (0.5, 1.0)}


def test_progress_counts_points(quadratic):
    calls = []
    lines(quadratic, [random_direction(quadratic)], [0, 1, 2], progress=lambda *n: calls.append(n))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_local_energy_is_half_the_trace_of_a_quadratic(quadratic):
    matrix, at = matrix_of(quadratic), quadratic.flat_weights
    found = local_energy(quadratic, 0.1, samples=400)
    assert abs(found.value - 0.005 * float(matrix.trace())) < 4 * found.error
    relative = local_energy(quadratic, 0.1, relative=True, samples=400)
    expected = 0.005 * float(matrix.diagonal() @ at.square())
    assert abs(relative.value - expected) < 4 * relative.error


def test_sharpness_of_a_quadratic(quadratic):
    slope, matrix, radius = quadratic.gradient(), matrix_of(quadratic), 0.3
    step = radius * slope / slope.norm()
    expected = float(slope @ step + step @ matrix @ step / 2)
    assert sharpness(quadratic, radius) == pytest.approx(expected)
    worst = sharpness(quadratic, radius, steps=30)
    assert worst >= expected
    angle = torch.randn(2000, 4, dtype=torch.float64)
    sphere = radius * angle / angle.norm(dim=1, keepdim=True)
    rises = sphere @ slope + 0.5 * ((sphere @ matrix) * sphere).sum(dim=1)
    assert worst >= float(rises.max()) * 0.98


def test_sharpness_says_how_far_it_is(quadratic):
    calls = []
    sharpness(quadratic, 0.1, steps=3, progress=lambda *n: calls.append(n))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: lines(o, [], [1.0]), "there must be one of each"),
        (lambda o: lines(o, [torch.zeros(3)], [1.0]), r"directions\[0\]: must be of shape \(4,\)"),
        (lambda o: local_energy(o, 0.0), "radius=0.0: must be above 0"),
        (lambda o: local_energy(o, 0.1, samples=1), "samples=1: must be at least 2"),
        (lambda o: sharpness(o, 0.1, steps=0), "steps=0: must be at least 1"),
    ],
)
def test_bad_input(quadratic, call, message):
    with pytest.raises(ValueError, match=message):
        call(quadratic)


@pytest.mark.parametrize("seed", range(5))
def test_the_widest_valley_wins_in_the_toy(seed):
    toy = toy_landscape(seed=seed)
    deepest, *widest = toy.minima()
    assert 795 <= deepest <= 825
    assert all(200 <= x <= 400 for x in widest)
    assert toy_landscape((1.0,), seed=seed).minima()[1] == pytest.approx(deepest, abs=1)
    assert math.isclose(float(toy.entropies[0].min()), 0.0)


def test_the_toy_has_no_walls_at_its_ends():
    """A box adds what the half beyond would give there: log 2 where the loss is flat."""
    toy = toy_landscape((1e-3,))
    box = -local_entropy_on_grid(toy.loss, [toy.x], 1e-3)
    added = box - box.min() - toy.entropies[0]
    np.testing.assert_allclose(added[250:750], 0, atol=1e-6)
    np.testing.assert_allclose(added[[0, -1]], math.log(2), atol=0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("which", ["on a line", "two in one place", "the first twice"])
def test_three_points_on_a_line_to_rounding_make_no_plane(dtype, which):
    torch.manual_seed(0)
    for _ in range(50):
        a, b = torch.randn(2, 1000, dtype=dtype)
        third = {"on a line": a + 0.3 * (b - a), "two in one place": b.clone()}
        second = b if which != "the first twice" else a.clone()
        points = {"a": a, "b": second, "c": third.get(which, b)}
        with pytest.raises(ValueError, match="points: lie on one line"):
            plane_through(points)


def test_an_empty_axis_of_a_plane_is_refused(quadratic):
    with pytest.raises(ValueError, match="directions and steps: there must be one of each"):
        plane(quadratic, torch.zeros(4).double(), torch.zeros(4).double(), ([], [0.0, 1.0]))


def test_an_ascent_that_comes_back_goes_on():
    """The second step cancels the first one."""
    network = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(network.weight, 0.0)
    one = torch.ones(1, 1).double()
    loss = lambda y, _: -((y - 0.1) ** 2).mean()  # noqa: E731
    assert sharpness(Objective(network, loss, [(one, one)]), 1.0, steps=2) >= 0


@pytest.mark.parametrize("kind", [Spectrum, Density, FisherDiagonal, Chains, ToyLandscape, Slice])
def test_another_kind_of_file_is_refused_by_name(kind, tmp_path):
    file = tmp_path / "result"
    held = Density(*np.zeros((3, 2, 2)), size=4)
    other = FisherDiagonal(np.zeros(2), np.zeros(2)) if kind is Density else held
    other.save(file)
    assert file.exists()  # under the name it was given
    with pytest.raises(ValueError, match="result: holds no"):
        kind.load(file)


def test_a_file_may_be_named_by_a_string(tmp_path):
    FisherDiagonal(np.zeros(2), np.zeros(2)).save(str(tmp_path / "fisher.npz"))
    assert len(FisherDiagonal.load(tmp_path / "fisher.npz").exact) == 2
