"""The simulation of docs/scaling.md, against closed forms."""

import pytest
from communication import MODES, Link, Mode, simulate

N, C = 1e6, 0.02
LINK = Link(bandwidth=1e7, latency=1e-3)


def test_a_message_of_known_length():
    """4 MB between two workers at 10 MB/s: each sends 4 MB, in two parts, 1 ms before each."""
    assert LINK.all_reduce(4e6, 2) == pytest.approx(0.4 + 2e-3)
    assert LINK.all_reduce(4e6, 5) == pytest.approx(8 * (1e-3 + 0.08))
    assert LINK.all_gather(4e6, 5) == pytest.approx(4 * (1e-3 + 0.4))
    assert LINK.all_reduce(4e6, 1) == LINK.all_gather(4e6, 1) == 0


@pytest.mark.parametrize("n", [1, 2, 7, 1000])
@pytest.mark.parametrize("name", MODES)
def test_without_spread_a_step_takes_what_arithmetic_says(name, n):
    mode, walks = MODES[name], 8
    travels = mode.message(N, n, LINK)
    if mode.hidden:  # all but the first walk may have to wait for the message before
        whole = mode.walk * C + (walks - 1) * max(mode.walk * C, travels)
    else:
        whole = walks * (mode.walk * C + travels)
    found = simulate(mode, N, n, LINK, C, walks=walks)
    assert found == pytest.approx(whole / (walks * mode.walk), rel=1e-12)


@pytest.mark.parametrize("n", [2, 10, 100])
def test_everyone_waits_for_the_last(n):
    """The largest of n exponential times of mean 1 is 1 + 1/2 + … + 1/n in the mean."""
    harmonic = sum(1 / k for k in range(1, n + 1))
    expected = C * (1 - 0.3 + 0.3 * harmonic) + Mode().message(N, n, LINK)
    found = simulate(Mode(), N, n, LINK, C, spread=0.3, walks=20_000)
    assert found == pytest.approx(expected, rel=0.01)


def test_a_long_walk_waits_less_for_the_last():
    """Sums of L times scatter by sqrt(L), so what is waited for a step falls as 1 / sqrt(L)."""
    fast = Link(1e12, 0.0)
    waits = [
        simulate(Mode(walk), N, 100, fast, C, spread=0.5, walks=4000) - C for walk in (100, 400)
    ]
    assert waits[0] / waits[1] == pytest.approx(2, rel=0.05)


def test_what_is_sent_is_what_a_ring_sends():
    assert Mode().sent(N, 4) == 8e6 * 3 / 4
    assert Mode(20).sent(N, 4) == 8e6 * 3 / 4 / 20
    assert Mode(10, 1.0, gathered=True).sent(N, 4) == 3e6 / 10
