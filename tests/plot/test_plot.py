"""What is drawn is what was measured: the data of the artists against the arrays."""

from functools import partial
from io import StringIO

import numpy as np
import pytest
import torch
from matplotlib import colors
from rich.console import Console
from scipy import stats

from widevalley import plot
from widevalley.plot.landscapes import lowest_points
from widevalley.valley.hessian import Density, FisherDiagonal, Spectrum
from widevalley.valley.landscape import Slice, toy_landscape
from widevalley.valley.samplers import Chains

RNG = np.random.default_rng(0)


@pytest.fixture
def ax():
    return plot.empty_figure("", 6, 4).subplots()


def a_spectrum(**more):
    values = np.sort(np.concatenate([RNG.normal(0, 1e-3, 500), [-0.4, -0.3, 3.0, 40.0]]))
    return Spectrum(values, 600, **more)


def a_density(probes=3):
    values = np.sort(RNG.normal(0, 1, (probes, 20)), axis=1)
    weights = RNG.dirichlet(np.ones(20), probes)
    return Density(values, weights, np.zeros_like(values), 1000)


def a_slice(count=3, **more):
    steps = np.linspace(-1, 1, 7)
    return Slice((steps,), 1 + RNG.random((count, 7)), **more)


def double_well(n=61):
    """Minima at (-1, 0.5) and (2, 0.5), between points of a grid or on them."""
    x, y = np.linspace(-2, 3, n), np.linspace(-1, 1, 41)
    loss = 0.1 + (x[:, None] + 1) ** 2 * (x[:, None] - 2) ** 2 + (y - 0.5) ** 2
    return Slice((x, y), loss, {"end": (-1.5, 0.0)}, lengths=(2.0, 10.0))


def chains(gamma=1.0):
    rows = {k: 1 + RNG.random((2, 9)) for k in ("loss", "distance", "flat_distance")}
    norms = dict.fromkeys(("gradient_norm", "pull_norm", "noise_norm"), np.zeros((2, 9)))
    facts = {"gamma": gamma, "beta": 10.0, "sampler": "sgld", "anchor_loss": 0.5}
    return Chains(**rows, **norms, mean=np.zeros((2, 3)), flat_mean=np.zeros((2, 3)), facts=facts)


def counts_of(ax):
    (patch,) = ax.patches
    return patch.get_data()


def test_a_spectrum_is_its_histogram_whole_around_zero_and_negative(ax):
    found = a_spectrum()
    every = np.concatenate([found.values, np.zeros(96)])
    assert plot.spectrum(found, ax) is ax
    counts, edges, _ = counts_of(ax)
    expected = np.histogram(every, 100)
    np.testing.assert_array_equal(counts, expected[0])
    np.testing.assert_allclose(edges, expected[1])
    near, negative = ax.child_axes
    assert counts_of(near)[0].sum() == (np.abs(every) <= 0.4).sum()
    assert counts_of(negative)[0].sum() == (every < -4e-5).sum()
    assert all(inset.get_xlabel() and inset.get_ylabel() for inset in (near, negative))
    assert not plot.spectrum(found, insets=False).child_axes


def test_a_spectrum_of_no_negative_values_has_one_inset(ax):
    plot.spectrum(Spectrum(np.linspace(0, 1, 50), 50), ax)
    assert [inset.get_title() for inset in ax.child_axes] == ["around zero"]


def test_ranks_and_the_floor_of_rounding(ax):
    found = a_spectrum(probed=np.array([-3.0, 1.0, 30.0]), facts={"dtype": "float32"})
    plot.spectrum_by_rank(found, ax)
    positive, negative, probed = (line.get_ydata() for line in ax.lines)
    np.testing.assert_array_equal(positive, np.sort(found.values[found.values > 0])[::-1])
    np.testing.assert_array_equal(negative, -found.values[found.values < 0])
    np.testing.assert_array_equal(probed, [30, 3, 1])
    (floor,) = ax.patches
    assert floor.get_y() + floor.get_height() == pytest.approx(40 * 2**-23)


def test_a_density_is_the_mean_of_its_probes_within_their_band(ax):
    found = a_density()
    plot.density(found, ax, width=0.1)
    (curve,), (band,) = ax.lines, ax.collections
    grid, shown = curve.get_data()
    kernels = stats.norm.pdf(grid[:, None], found.values.ravel(), 0.1)
    np.testing.assert_allclose(shown, kernels @ found.weights.ravel() / 3, rtol=1e-9)
    assert np.trapezoid(shown, grid) == pytest.approx(1, abs=1e-3)
    each = found.smoothed_each(grid, 0.1)
    edge = {tuple(point) for point in band.get_paths()[0].vertices.round(12)}
    middle = len(grid) // 2
    for value in (each[:, middle].min(), each[:, middle].max()):
        assert (round(grid[middle], 12), round(max(value, shown.max() * 1e-8), 12)) in edge
    assert not plot.density(a_density(1)).collections


def test_ritz_values_stand_as_high_as_they_weigh(ax):
    found = a_density()
    (stems,) = plot.ritz_weights(found, ax).collections
    ends = np.array([segment[1] for segment in stems.get_segments()])
    np.testing.assert_allclose(ends[:, 0], found.values.ravel())
    np.testing.assert_allclose(ends[:, 1], found.weights.ravel() / 3)


def test_lines_are_drawn_over_distances(ax):
    found = a_slice(lengths=(2.0, 3.0, 0.5))
    plot.slices(found, ax, chosen=[0, 2], name="loss")
    for k, line in zip((0, 2), ax.lines, strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(x, found.coordinates[0] * found.lengths[k])
        np.testing.assert_allclose(y, found.loss[k])
    assert ax.get_xlabel() == "distance"
    assert ax.get_legend_handles_labels()[1] == ["loss"]


def test_a_line_between_two_ends_names_them(ax):
    plot.slices(a_slice(1, marks={"a": (0.0,), "b": (1.0,)}, lengths=(7.0,)), ax)
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), np.linspace(-1, 1, 7))


def test_the_lowest_point_of_every_valley_of_a_plane_is_crossed(ax):
    found = double_well()
    plot.contours(found, ax)
    crosses = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "x"]
    np.testing.assert_allclose(crosses, [[-2, 5], [4, 5]], atol=1e-9)
    (dot,) = (line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o")
    np.testing.assert_allclose(dot, [-3, 0])
    filled = ax.collections[0]
    assert filled.levels[0] == pytest.approx(found.loss.min())
    assert filled.levels[-1] == pytest.approx(found.loss.max())


def test_a_valley_that_goes_on_beyond_the_edge_has_no_lowest_point():
    assert lowest_points(np.add.outer(np.arange(5.0), np.arange(4.0))) == []


def test_planes_side_by_side_have_the_same_levels():
    one = double_well()
    other = Slice(one.coordinates, 5 * one.loss)
    left, right, *_ = plot.planes_figure([one, other]).axes
    np.testing.assert_array_equal(left.collections[0].levels, right.collections[0].levels)


def test_the_toy_with_its_minima(ax):
    toy = toy_landscape((1e-3,))
    plot.local_entropy(toy, ax)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 1]
    for line, values in zip(curves, (toy.loss - toy.loss.min(), toy.entropies[0]), strict=True):
        np.testing.assert_allclose(line.get_ydata(), values)
    dots = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert tuple(dots) == toy.minima()


def test_walks_show_the_loss_and_what_walls_take_off(ax):
    found = chains()
    plot.walks(found, ax, distance=True)
    *each, _ = ax.lines
    for line, chain, flat in zip(each, found.distance, found.flat_distance, strict=True):
        np.testing.assert_allclose(line.get_ydata(), chain - flat)
    plot.walks(found, ax)
    assert ax.lines[-1].get_ydata()[0] == 0.5, "the loss of the anchor"


def test_a_forest_tells_left_from_right_from_neither(ax):
    middle, low, high = [-2.0, 0.5, 3.0], [-3.0, -1.0, -np.inf], [-1.0, 2.0, np.inf]
    plot.forest(["a", "b", "c"], middle, low, high, ax, sides=("less", "more"))
    rows = dict(
        zip(ax.get_yticks(), (tick.get_text() for tick in ax.get_yticklabels()), strict=True)
    )
    assert rows == {0: "a", 1: "b", 2: "c"}
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first row is at the top"
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots] == [
        (-2.0, 0),
        (0.5, 1),
        (3.0, 2),
    ]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, True]
    bars = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]
    assert bars[:2] == [[-3, -1], [-1, 2]]
    assert [text.get_text() for text in ax.texts] == ["less", "more"]


def test_learning_curves_have_students_interval(ax):
    steps, values = np.array([10, 20, 30]), 1 + RNG.random((4, 3))
    plot.learning_curves({"sgd": (steps, values), "one": (steps, values[0])}, ax)
    sgd, one = ax.lines
    np.testing.assert_allclose(sgd.get_ydata(), values.mean(axis=0))
    np.testing.assert_allclose(one.get_ydata(), values[0])
    (band,) = ax.collections
    low, high = stats.t.interval(0.95, 3, values.mean(axis=0), stats.sem(values))
    edge = band.get_paths()[0].vertices[:, 1]
    for k in range(3):
        assert np.isclose(edge, high[k]).any()
        assert np.isclose(edge, max(low[k], values.mean(axis=0)[k] / 100)).any()


def test_curves_differ_in_colour_and_dash():
    assert len(set(plot.STYLES)) == len(plot.STYLES) == 24
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in zip(plot.STYLES, plot.STYLES[1:]))
    assert all(colors.is_color_like(colour) for colour, _ in plot.STYLES)


@pytest.mark.parametrize(
    "result",
    [
        a_spectrum(),
        a_density(),
        FisherDiagonal(RNG.random(100), RNG.normal(0, 1e-6, 100)),
        a_slice(),
        double_well(),
        toy_landscape(),
        chains(),
    ],
    ids=lambda result: type(result).__name__,
)
def test_every_result_has_a_whole_figure(result, tmp_path):
    made = plot.figure(result, title="here")
    assert made.get_suptitle() == "here"
    made.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_a_picture_of_something_else_is_refused():
    with pytest.raises(TypeError, match="there is no picture of a Tensor"):
        plot.figure(torch.zeros(3))


def test_a_bar_writes_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr("widevalley.plot.progress.LINE_EVERY", -1.0)
    bar = plot.progress_bar("products", then="now the rest of {}".format)
    bar(1, 2)
    bar(2, 2)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("1 of 2 products, ")
    assert last == "2 products done; now the rest of 2"


def test_a_bar_gives_the_cursor_back_where_an_error_ends_the_work(monkeypatch):
    screen = StringIO()
    terminal = partial(Console, file=screen, force_terminal=True)
    monkeypatch.setattr("widevalley.plot.progress.Console", terminal)

    def work():
        with plot.progress_bar("points") as bar:
            bar(1, 9)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    hidden, shown = (screen.getvalue().rfind(code) for code in ("\x1b[?25l", "\x1b[?25h"))
    assert 0 <= hidden < shown
    assert "1/9" in screen.getvalue()
