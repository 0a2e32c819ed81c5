"""The forest of flatness: its numbers against simulation and SciPy, its words, its files."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from widevalley import plot
from widevalley.experiments import Measure
from widevalley.report import draw_flatness
from widevalley.report.evidence import Sample, difference, standardised


def test_the_interval_of_a_standardised_difference_covers_the_true_one():
    rng, true, covered = np.random.default_rng(0), 1.5, 0
    for _ in range(400):
        a, b = Sample("a", tuple(rng.normal(true, 1, 3))), Sample("b", tuple(rng.normal(0, 1, 4)))
        found, plain = standardised(a, b), difference(a, b)
        covered += found.low < true < found.high
        assert (found.low < 0 < found.high) == (plain.low < 0 < plain.high)
        mirrored = standardised(b, a)
        assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    # Four standard deviations of 400 trials around 95 %.
    assert abs(covered / 400 - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 400)


def test_its_bounds_make_the_t_of_the_test_a_quantile():
    a, b = Sample("a", (1.0, 2.0, 3.5)), Sample("b", (0.0, 0.1, -0.4))
    found, t = standardised(a, b), stats.ttest_ind(a.values, b.values).statistic
    scale = math.sqrt(2 / 3)
    assert found.middle == pytest.approx(t * scale)
    assert stats.nct.cdf(t, 4, found.low / scale) == pytest.approx(0.975)
    assert stats.nct.cdf(t, 4, found.high / scale) == pytest.approx(0.025)


def test_far_apart_and_single_runs():
    far = standardised(Sample("a", (100.0, 101.0)), Sample("b", (0.0, 1.0)))
    assert 0 < far.low < far.middle < far.high
    for apart in (1e4, 1e5, 1e7):
        far = standardised(Sample("a", (apart, apart + 1)), Sample("b", (0.0, 1.0)))
        assert 0 < far.low < far.middle < far.high
    single = standardised(Sample("a", (1.0,)), Sample("b", (2.0,)))
    assert math.isinf(single.high)


def test_measures_are_told_in_words():
    words = [
        Measure.named(name).in_words for name in ("relative local energy 0.4", "entropy walls 10")
    ]
    assert words == [
        "rise of the loss under noise of 40 % of every weight",
        "curvature's part of -F, γ = 10",
    ]


def write(file, runs):
    facts = {"recipe": "digits", "samples": 100}
    plain = [
        {
            "run": run,
            "measures": {
                "trace": [value, 0.1],
                "loss": [value / 10, 0.0],
                "sharpness 1": [2, None],
            },
            "facts": facts,
        }
        for run, value in runs.items()
    ]
    file.write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("runs", "axis", "middle"),
    [
        (
            {"a/seed-0": 1, "a/seed-1": 2, "b/seed-0": 4, "b/seed-1": 5},
            "difference in standard",
            -3 / math.sqrt(0.5),
        ),
        ({"a/seed-0": 1, "b/seed-0": 3}, "difference over mean magnitude", -1.0),
        ({"a/seed-0": 1, "a/seed-1": 3}, "value, each in its own unit", 2.0),
    ],
)
def test_runs_side_by_side_or_alone(tmp_path, monkeypatch, runs, axis, middle):
    drawn = []

    def forest(rows, middle, low, high, ax, **how):
        drawn.append((rows, middle, low, high, how))
        return plain(rows, middle, low, high, ax, **how)

    plain = plot.forest
    monkeypatch.setattr(plot, "forest", forest)
    file = tmp_path / "flatness.json"
    write(file, runs)
    png, svg = draw_flatness(file)
    assert png.stat().st_size > 5000
    assert "<svg" in svg.read_text()
    (rows, middles, lows, highs, how), (others, *_) = drawn
    assert rows == ["trace of the Hessian", "largest rise of the loss within a distance of 1"]
    assert others == ["training loss"]
    assert how["name"].startswith(axis)
    assert middles[0] == pytest.approx(middle)
    assert lows[0] < middle < highs[0]
    assert how["sides"] == (
        ("", "") if len(runs) == 2 and axis[0] == "v" else ("← a is wider", "b is wider →")
    )
