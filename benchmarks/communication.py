"""What many workers wait for: a small simulation, its table and its picture.

    python benchmarks/communication.py

Rewrites the tables of docs/scaling.md between its marks, and docs/scaling.png.

A message of S bytes among n workers goes round a ring; a link has a bandwidth B and a latency a:

    all-reduce  2 (n - 1) (a + S / (n B))      all-gather  (n - 1) (a + S / B)

A worker's step takes (1 - spread) c + spread c Exp(1) seconds, c in the mean; where a message needs
all, everyone waits for the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from widevalley.plot.style import STYLES, caption, empty_figure, label
from widevalley.report.table import markdown_table

DOCS = Path(__file__).parents[1] / "docs"
WORKERS = (1, 2, 4, 8, 16, 32, 64, 100, 128, 256, 512, 1000)
SHOWN = (2, 4, 8, 32, 100, 1000)


@dataclass(frozen=True)
class Link:
    """Bytes a second that a worker can send, and seconds before the first one arrives."""

    bandwidth: float
    latency: float

    def all_reduce(self, size: float, n: int) -> float:
        """Seconds to sum S bytes over n workers, in a ring."""
        return 2 * (n - 1) * (self.latency + size / (n * self.bandwidth))

    def all_gather(self, size: float, n: int) -> float:
        """Seconds to give all workers the S bytes of each."""
        return (n - 1) * (self.latency + size / self.bandwidth)


@dataclass(frozen=True)
class Mode:
    """How workers work together: what travels at the end of a walk of so many steps."""

    walk: int = 1
    bytes_a_number: float = 4.0
    gathered: bool = False
    hidden: bool = False
    """Whether a message has the whole next walk to arrive."""

    def sent(self, numbers: float, n: int) -> float:
        """Bytes that a worker sends a step, of so many parameters."""
        size = numbers * self.bytes_a_number
        return size * ((n - 1) if self.gathered else 2 * (n - 1) / n) / self.walk

    def message(self, numbers: float, n: int, link: Link) -> float:
        """Seconds that a message travels."""
        size = numbers * self.bytes_a_number
        return link.all_gather(size, n) if self.gathered else link.all_reduce(size, n)


MODES = {
    "DDP": Mode(),
    "local walks, L 20": Mode(20),
    "local walks, L 100": Mode(100),
    "L 100, delay 100": Mode(100, hidden=True),
    "L 100, 8 bits": Mode(100, 1.004, gathered=True),
    "L 100, largest 1/64": Mode(100, 0.048, gathered=True),
    "Parle, L 25": Mode(25, hidden=True),
}


def simulate(
    mode: Mode,
    numbers: float,
    n: int,
    link: Link,
    seconds: float = 1.0,
    *,
    spread: float = 0.0,
    walks: int = 50,
    seed: int = 0,
) -> float:
    """Seconds a step, `seconds` being those of the gradient and the update alone."""
    rng = np.random.default_rng(seed)
    travels = mode.message(numbers, n, link)
    at, arrives = np.zeros(n), 0.0
    for _ in range(walks):
        walked = (1 - spread) * mode.walk + spread * rng.gamma(mode.walk, size=n)
        at = at + seconds * walked
        if mode.hidden:
            at = np.maximum(at, arrives)
            arrives = at.max() + travels
        else:
            at[:] = at.max() + travels
    return float(at.max()) / (walks * mode.walk)


# --- the table and the picture ------------------------------------------------------------------

NUMBERS, STEP, SPREAD = 1e9, 1.0, 0.1
LINKS = {
    "internet: 100 Mbit/s, 50 ms": Link(100e6 / 8, 50e-3),
    "office: 10 Gbit/s, 0.1 ms": Link(10e9 / 8, 1e-4),
    "cluster: 400 Gbit/s, 10 µs": Link(400e9 / 8, 1e-5),
}


def tables() -> str:
    """Bytes a step, and the share of the time that computes, by mode and number of workers."""
    heads = ["mode", *(f"{n:,}" for n in SHOWN)]
    sent = [[name, *(_bytes(m.sent(NUMBERS, n)) for n in SHOWN)] for name, m in MODES.items()]
    text = f"Sent a step by each of n workers:\n\n{markdown_table((heads, sent))}"
    for title, link in LINKS.items():
        rows = [[name, *(_share(m, n, link) for n in SHOWN)] for name, m in MODES.items()]
        text += f"\nShare of the time that computes; {title}:\n\n{markdown_table((heads, rows))}"
    return text


def share(mode: Mode, n: int, link: Link) -> float:
    """Of the time, what computes."""
    return STEP / simulate(mode, NUMBERS, n, link, STEP, spread=SPREAD)


def _share(mode: Mode, n: int, link: Link) -> str:
    percent = 100 * share(mode, n, link)
    return f"{percent:.0f} %" if percent >= 1 else f"{percent:.1g} %"


def _bytes(count: float) -> str:
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{count / unit:,.3g} {name}" if count < 1e12 else f"{count / unit:,.0f} {name}"


def draw() -> Figure:
    """The share of the time that computes over the number of workers, a panel a link."""
    made = empty_figure("", 11, 3.8)
    panels = made.subplots(1, len(LINKS), sharey=True)
    for ax, (title, link) in zip(panels, LINKS.items(), strict=True):
        for (name, mode), (colour, dash) in zip(MODES.items(), STYLES, strict=False):
            shares = [100 * share(mode, n, link) for n in WORKERS]
            ax.plot(WORKERS, shares, dash, color=colour, label=name)
        ax.set_xscale("log")
        ax.set_title(title, fontsize="medium")
        label(ax, "workers", "time that computes, %" if ax is panels[0] else "")
        ax.set_ylim(0, 100)
        ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    caption(
        made,
        f"simulated: {NUMBERS:,.0f} parameters, {STEP:g} s a gradient, "
        f"{100 * SPREAD:g} % of it exponential, float32 unless said",
    )
    return made


def main() -> None:
    page = DOCS / "scaling.md"
    before, rest = page.read_text().split("<!-- tables -->\n")
    _, after = rest.split("<!-- end -->\n")
    page.write_text(f"{before}<!-- tables -->\n{tables()}<!-- end -->\n{after}")
    draw().savefig(DOCS / "scaling.png")
    print(page)


if __name__ == "__main__":
    main()
