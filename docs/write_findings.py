"""Writes docs/findings.md: docs/findings.in with every number read from results/.

`{name}` in the text is a key of `numbers`; `make docs` runs this. A test holds the page to it.
"""

from __future__ import annotations

import json
import math
import statistics
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from widevalley.experiments import (
    PAPER,
    QUOTED,
    Measure,
    load_flatness,
    load_hardening,
    load_pac_bayes,
)
from widevalley.report import markdown_table, pac_bayes_cells
from widevalley.report.claims import CLAIMS
from widevalley.report.evidence import final_result, paired, together
from widevalley.report.flatness_figures import flatness_samples
from widevalley.report.groups import summarise
from widevalley.report.results_folder import ResultsFolder
from widevalley.report.tournament_table import TITLES, Tournament
from widevalley.valley.hessian import Spectrum

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "results"
FAMILY = ("entropy-", "local-entropy-", "smoothed-", "hardened-")
"""How the names of methods begin that walk around an anchor."""
SPECTRA = ("small-lenet", "small-mnistfc", "small-charlstm")
WIDTHS = {
    "loss": ("loss of the samples", 4),
    "largest eigenvalue": ("largest eigenvalue", 2),
    "trace": ("trace", 1),
    "local energy 0.01": ("rise by noise of 0.01 in every weight", 5),
    "relative local energy 0.4": ("rise by noise of 40 % of every weight", 4),
    "sharpness 0.5": ("sharpness, radius 0.5", 3),
}


def write(file: Path = DOCS / "findings.md") -> None:
    """Write the page."""
    file.write_text(page())


def page() -> str:
    """The text with its numbers."""
    text = (DOCS / "findings.in").read_text().format_map(numbers())
    return "\n\n".join(map(_filled, text.rstrip("\n").split("\n\n"))) + "\n"


def _filled(block: str) -> str:
    """A paragraph with its lines filled anew; tables, headings and pictures as they are."""
    if block.lstrip("\n")[:1] in "|#!":
        return block
    return textwrap.fill(block, 100, break_long_words=False, break_on_hyphens=False)


def numbers() -> dict[str, str]:
    """Every number and table of the page by its name."""
    found: dict[str, str] = {}
    for part in (spectra, widths, rows, temperature, noise, claims, bounds, tournaments, rounding):
        for name, value in part():
            assert name not in found, name
            found[name] = value
    return found


Named = Iterator[tuple[str, str]]


def spectra() -> Named:
    """Shares of small eigenvalues, exactly and by probes, and the ends."""
    for network in SPECTRA:
        one = Spectrum.load(RESULTS / "spectra" / network / "spectrum.npz")
        yield f"{network} size", f"{one.size:,}"
        yield f"{network} structural zeros", f"{one.structural_zeros:,}"
        yield f"{network} structural share", f"{100 * one.structural_zeros / one.size:.0f}"
        for least in (1e-4, 1e-2):
            yield f"{network} below {_power(least)}", f"{100 * one.fraction_below(least):.1f}"
        scale = {"small-lenet": 1e-4, "small-mnistfc": 1e-2 / 128, "small-charlstm": 1e-5 / 32}
        yield f"{network} as printed", f"{100 * one.fraction_below(scale[network]):.1f}"
        yield f"{network} largest", f"{one.values[-1]:.3g}"
        yield f"{network} most negative", f"{one.values[0]:.2g}"
        yield f"{network} minutes", f"{one.facts['seconds'] / 60:.0f}"
        if len(one.probed):
            zeros = one.size - len(one.probed)
            small = zeros + int((abs(one.probed) < 1e-4).sum())
            yield f"{network} probes", f"{len(one.probed):,}"
            yield f"{network} zero by rank", f"{100 * zeros / one.size:.1f}"
            yield f"{network} by probes", f"{100 * small / one.size:.1f}"


def widths() -> Named:
    """How wide the valleys are that mnistfc's runs end in."""
    folder = RESULTS / "studies/flatness/mnistfc"
    samples = flatness_samples(load_flatness(folder / "flatness.json"))
    names = [sample.name for sample in samples["loss"]]
    cells = []
    for measure, (title, digits) in WIDTHS.items():
        shown = {s.name: summarise(s.values).shown(digits) for s in samples[measure]}
        cells.append([title, *(shown[name] for name in names)])
        for name in names:
            yield f"{measure} of {name}", shown[name]
    speaking = [name for name in samples if Measure.named(name).speaks_of_width]
    yield "number of measures", str(len(speaking))
    yield "table of widths", markdown_table((["", *names], cells))


def rows() -> Named:
    """The paper's rows: its settings, its baseline, ours and one tuned as hard."""
    results = ResultsFolder(RESULTS)
    wholes: list[list[str]] = []
    parts: list[list[str]] = []
    for recipe in PAPER:
        shown, part = [], ""
        for name in ("paper", "baseline", "best", "tuned"):
            group = results.variant(recipe, name)
            value = "" if group is None else group.result().shown(group.metric.digits)
            if group is not None:
                yield f"{recipe} {name}", value
                yield f"{recipe} {name} epochs", f"{group.final('epoch').mean:.0f}"
                part = part or group.part_of(PAPER[recipe].variant(name).epochs)
                yield f"{recipe} {name} gradients", f"{group.final('gradients').mean:,.0f}"
            quoted = QUOTED.get((recipe, name))
            printed = f" ({quoted.test})" if quoted and value and not part else ""
            shown.append(value + printed)
        if any(shown):
            (parts if part else wholes).append([recipe, *shown])
    heads = ["", "paper's settings", "paper's baseline", "best", "tuned"]
    yield "table of rows", markdown_table((heads, wholes))
    yield "table of parts", markdown_table((heads, parts))
    for name in ("paper", "baseline"):
        last = _records(RESULTS / "paper/ptb" / name / "seed-0")[-1]
        yield f"ptb {name} gradients", f"{last['gradients']:,}"


def temperature() -> Named:
    """How warm the walks of the paper's settings are, and how long they would take to relax."""
    cells = []
    for recipe in PAPER:
        config = json.loads((RESULTS / "paper" / recipe / "paper/seed-0/config.json").read_text())
        walk: dict[str, Any] = config["optimizer"]
        tau = 2 / walk["noise"] ** 2
        steps, gamma = walk["langevin_steps"], walk["gamma"]
        last = _records(RESULTS / "paper" / recipe / "paper/seed-0")[-1]
        epochs = PAPER[recipe].variant("paper").epochs  # the run may have had a part of them
        anchors = epochs * last["gradients"] / last["epoch"] / steps
        growth = (1 + walk["gamma_growth"]) ** anchors
        relaxation = 1 / (walk["langevin_lr"] * gamma)
        spread = walk["noise"] * math.sqrt(walk["langevin_lr"] * steps)
        shown = {
            "noise": f"{walk['noise']:.2g}",
            "tau": f"{tau:.0e}".replace("e+0", "e"),
            "relaxation": f"{relaxation:,.0f}",
            "relaxation at the end": f"{relaxation / growth:,.0f}",
            "steps": str(steps),
            "spread": f"{spread:.1e}".replace("e-0", "e-"),
            "stationary": f"{1 / math.sqrt(tau * gamma):.1e}".replace("e-0", "e-"),
            "stationary at the end": f"{1 / math.sqrt(tau * gamma * growth):.1e}".replace(
                "e-0", "e-"
            ),
        }
        cells.append([recipe, *shown.values()])
        for name, value in shown.items():
            yield f"{recipe} {name}", value
    heads = ["", "ε", "τ = 2/ε²", "steps to relax, 1/(η'γ)", "at the end", "steps of a walk, L"]
    heads += ["spread in a walk, ε √(η'L)", "of its law, 1/√(τγ)", "at the end"]
    yield "table of temperatures", markdown_table((heads, cells))


def noise() -> Named:
    """LeNet's validation error at each thermal noise."""
    ((recipe, groups),) = ResultsFolder(RESULTS).study("optimizer.noise")
    for group in groups:
        sample = final_result(group)
        value = group.name.partition("=")[2]
        yield f"{recipe} at noise {_power(float(value))}", summarise(sample.values).shown(2)


def claims() -> Named:
    """The paper's claims with their verdicts."""
    results = ResultsFolder(RESULTS)
    verdicts = [(c.title, together(row.verdict for row in c.test(results))) for c in CLAIMS]
    yield "table of claims", markdown_table((["claim", "verdict"], [list(v) for v in verdicts]))


def bounds() -> Named:
    """PAC-Bayes bounds and the errors they bound."""
    file = RESULTS / "pac-bayes/pac-bayes.json"
    heads, cells = pac_bayes_cells(file)
    yield "table of bounds", markdown_table((heads, cells))
    found = load_pac_bayes(file)
    for kind in dict.fromkeys(one.run.rpartition("/")[0] for one in found):
        own = [one.numbers for one in found if one.run.rpartition("/")[0] == kind]
        short = kind.replace("binary-mnist/", "true ").replace("random-mnist/", "random ")
        for name in own[0]:
            scale, digits = (1, 3) if name in ("epsilon", "tau", "samples", "KL") else (100, 1)
            values = [scale * each[name] for each in own]
            if name.endswith("bound"):
                yield f"{short} {name}", f"{max(values):.{digits}f}"
            elif name in ("epsilon", "tau", "samples"):
                yield f"{short} {name}", f"{values[0]:.3g}"
            else:
                yield f"{short} {name}", summarise(values).shown(digits)


def tournaments() -> Named:
    """Where a method that walks is first, and what it is told apart from."""
    cells, first, better = [], [], []
    folders = sorted(path.parent for path in (RESULTS / "tournament").glob("*/tournament.json"))
    for folder in folders:
        played = Tournament(folder)
        if played.decided.get(
            "bits"
        ):  # tuned for what is left after rounding, which is no final loss
            continue
        value = played.criterion
        groups = {g.name: played.by_seed(g, value) for g in played.groups}
        family = [name for name in groups if name.startswith(FAMILY)]
        others = [name for name in groups if name not in family]
        if not family or not others:
            continue
        ours, theirs = (_best(groups, names) for names in (family, others))
        gap = paired(groups[ours], groups[theirs])
        order = sorted(groups, key=lambda name: statistics.fmean(groups[name].values()))
        digits = 4 if value == "loss" else 2
        cells.append(
            [
                folder.name,
                TITLES[value],
                f"{ours} {summarise(groups[ours].values()).shown(digits)}",
                f"{order.index(ours) + 1} of {len(order)}",
                f"{theirs} {summarise(groups[theirs].values()).shown(digits)}",
                gap.shown(digits),
            ]
        )
        first += [folder.name] * (order[0] == ours)
        better += [folder.name] * (gap.high < 0)
        if folder.name == "digits":
            rank = f"{order.index('entropy-sgd') + 1} of {len(order)}"
            yield "entropy-sgd on digits", rank
    heads = ["task", "by", "best that walks", "rank", "best that does not", "difference (95 %)"]
    yield "table of tournaments", markdown_table((heads, cells))
    yield "tasks", _listed(cell[0] for cell in cells)
    yield "tasks won", _listed(first)
    yield "tasks told apart", _listed(better)


def rounding() -> Named:
    """What 3 bits cost LeNet, with walks around Muon and with AdamW."""
    found: dict[str, dict[str, float]] = {}
    for each in load_hardening(RESULTS / "tournament/lenet/hardening/hardening.json"):
        name, _, seed = each.run.rpartition("/")
        found.setdefault(name, {})[seed] = each.losses["3 bits"]
    ours, theirs = found["local-entropy-muon-ema"], found["adamw"]
    share = statistics.fmean(ours.values()) / statistics.fmean(theirs.values())
    yield "less lost in 3 bits, %", f"{100 * (1 - share):.0f}"
    yield "3 bits", paired(ours, theirs).shown(4)


def _power(value: float) -> str:
    """A power of ten as 1e-4: a dot would end the name in a template."""
    return f"{value:.0e}".replace("e-0", "e-") if value else "0"


def _best(groups: dict[str, dict[int, float]], names: Iterable[str]) -> str:
    return min(names, key=lambda name: statistics.fmean(groups[name].values()))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    write()
