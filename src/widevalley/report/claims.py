"""The paper's claims beside the runs that test them.

ROOT holds `paper` (runs of `reproduce`: RECIPE/VARIANT/seed-N) and `studies` (runs of `sweep`:
RECIPE/sweeps/OPTIMIZER/SETTING=VALUE/seed-N; and of `flatness`: flatness/RECIPE). Every number is
computed from those folders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from widevalley.experiments import PAPER, load_flatness
from widevalley.report.evidence import (
    Sample,
    Verdict,
    below,
    difference,
    final,
    final_result,
    gradients_to,
    together,
)
from widevalley.report.flatness import flatness_samples
from widevalley.report.groups import Group, diverged_in, folders_in, group_runs
from widevalley.report.results import provenance
from widevalley.report.table import markdown_table

PAIRS = (("paper", "baseline"), ("best", "tuned"))
"""Runs of Entropy-SGD or Entropy-Adam, each with the SGD or Adam it is held against."""
NO_WIDTH = ("loss", "smallest eigenvalue", "entropy gradient")
"""How the names begin of what `flatness` measures and says nothing of a valley's width."""
TENTH = 0.1
NATS = 0.01
"""What counts as equal: a tenth of an error, a hundredth of a nat (1 % of a perplexity)."""
USABLE = 1.25
"""A rate is usable whose error is at most this times the best of its grid."""

HEADS = ["network", "ours (seeds)", "against (seeds)", "difference (95 %)", "verdict"]


@dataclass(frozen=True)
class Row:
    """One comparison."""

    where: str
    ours: str
    against: str
    difference: str
    verdict: Verdict


@dataclass(frozen=True)
class Claim:
    """Something the paper says, how it is tested, and the comparisons that there are runs for."""

    title: str
    test: str
    rows: Callable[[Path], Iterator[Row]]


def write_claims(root: Path, file: Path) -> list[tuple[str, Verdict]]:
    """Write the claims with evidence and verdicts to `file`; returns titles with verdicts."""
    found = [(claim, list(claim.rows(root))) for claim in CLAIMS]
    verdicts = [(claim.title, together(row.verdict for row in rows)) for claim, rows in found]
    summary = markdown_table((["claim", "verdict"], [list(pair) for pair in verdicts]))
    sections = "\n".join(_section(claim, rows) for claim, rows in found)
    file.write_text(f"{INTRODUCTION}\n{summary}\n{sections}\n{provenance(_every(root))}")
    return verdicts


INTRODUCTION = """\
# What the paper claims, and what the runs here say

A claim holds where every comparison below it holds, does not hold where one of them goes the other
way, and is not settled otherwise. A comparison is settled where the 95 % interval of the difference
(Student's, over seeds) lies on one side. Every number is read from the run folders beside this
file. "paper" and "baseline" are the paper's own settings; "best" is ours, and "tuned" an SGD or
Adam that spends as many gradients, chosen by held-out data as ours was (NETWORK-tuning has the
trials of each).
"""


def _section(claim: Claim, rows: list[Row]) -> str:
    cells = [[row.where, row.ours, row.against, row.difference, row.verdict] for row in rows]
    evidence = markdown_table((HEADS, cells)) if rows else "Not run.\n"
    return f"## {claim.title}\n\n{claim.test}\n\n{evidence}"


def _row(where: str, a: Sample, b: Sample, margin: float, digits: int) -> Row:
    """Whether a is below b + margin."""
    gap = difference(a, b)
    said = a.shown(digits), b.shown(digits), gap.shown(digits)
    return Row(where, *said, below(gap, margin))


def _variant(root: Path, recipe: str, name: str) -> Group | None:
    groups = group_runs(folders_in(root / "paper" / recipe / name))
    return groups[0] if groups else None


def _pairs(root: Path) -> Iterator[tuple[str, Group, Group]]:
    for recipe in PAPER:
        for ours, theirs in PAIRS:
            a, b = _variant(root, recipe, ours), _variant(root, recipe, theirs)
            if a and b:
                yield recipe, a, b


def _margin(group: Group, result: float) -> float:
    field = group.metric.field
    return {"error": TENTH * result, "loss": NATS}.get(field, NATS * result)


def _faster(root: Path) -> Iterator[Row]:
    for recipe, a, b in _pairs(root):
        end = b.result(b.monitored_split).mean
        target = end + _margin(b, end)
        ours = gradients_to(a, target)
        theirs = gradients_to(b, target, missed=b.final("gradients").mean)
        if math.isinf(ours.mean):
            yield Row(recipe, f"{a.name}: not every seed", theirs.shown(0), "", "does not hold")
        else:
            yield _row(recipe, ours, theirs, 0.0, 0)


def _comparable(root: Path) -> Iterator[Row]:
    for recipe, a, b in _pairs(root):
        theirs = final_result(b)
        yield _row(recipe, final_result(a), theirs, _margin(b, theirs.mean), b.metric.digits)


def _training_loss(root: Path) -> Iterator[Row]:
    for recipe, a, b in _pairs(root):
        yield _row(recipe, final(a, "train_set_loss"), final(b, "train_set_loss"), 0.0, 4)


def _sgld(root: Path) -> Iterator[Row]:
    for recipe in PAPER:
        sgld = _variant(root, recipe, "sgld")
        for name in ("paper", "baseline"):
            other = _variant(root, recipe, name)
            if sgld and other:
                yield _row(recipe, final_result(other), final_result(sgld), 0.0, sgld.metric.digits)


def _study(
    root: Path, setting: str, optimizer: str = "entropy-sgd"
) -> Iterator[tuple[str, list[Group]]]:
    """By recipe, the groups of a sweep over one setting, in the order of its values."""
    for recipe in PAPER:
        folder = root / "studies" / recipe / "sweeps" / optimizer
        points = sorted(folder.glob(f"{setting}=*"), key=lambda p: _value(p.name))
        groups = group_runs(run for point in points for run in folders_in(point))
        if groups:
            yield recipe, groups


def _value(name: str) -> float | str:
    text = name.partition("=")[2]
    try:
        return float(text)
    except ValueError:
        return text


def _insensitive(setting: str) -> Callable[[Path], Iterator[Row]]:
    def rows(root: Path) -> Iterator[Row]:
        for recipe, groups in _study(root, setting):
            best = min(groups, key=lambda group: group.result().mean)
            reference = final_result(best, _short(best.name))
            margin = _margin(best, reference.mean)
            for group in groups:
                if group is not best:
                    yield _row(
                        recipe, final_result(group, _short(group.name)), reference, margin, 2
                    )

    return rows


def _short(name: str) -> str:
    return name.removeprefix("optimizer.").replace("_", "-")


def _annealing(root: Path) -> Iterator[Row]:
    for recipe, groups in _study(root, "walk_schedule"):
        constant, annealed = sorted(groups, key=lambda g: g.name != "walk_schedule=constant")
        names = _short(constant.name), _short(annealed.name)
        yield _row(
            recipe, final_result(constant, names[0]), final_result(annealed, names[1]), 0.0, 2
        )


def _rates(root: Path) -> Iterator[Row]:
    theirs = dict(_study(root, "optimizer.lr", "sgd"))
    for setting in ("optimizer.lr", "optimizer.langevin_lr"):
        for recipe, groups in _study(root, setting):
            if recipe in theirs:
                a, b = _usable(groups), _usable(theirs[recipe])
                grids = _grid(groups), _grid(theirs[recipe])
                verdict: Verdict = "holds" if a > b else "does not hold"
                yield Row(recipe, *grids, f"usable to {a:g} against {b:g}", verdict)


def _usable(groups: list[Group]) -> float:
    best = min(group.result().mean for group in groups)
    return max(
        float(_value(group.name)) for group in groups if group.result().mean <= USABLE * best
    )


def _grid(groups: list[Group]) -> str:
    """Every point of the sweep that the groups are of, those that diverged last."""
    shown = [final_result(group, _short(group.name)).shown(2) for group in groups]
    setting, _, _ = groups[0].name.partition("=")
    failed = {run.path.parent.name for run in diverged_in(groups[0].folders[0].path.parent.parent)}
    points = sorted((name for name in failed if name.startswith(f"{setting}=")), key=_value)
    return ", ".join([*shown, *(f"{_short(name)} diverged" for name in points)])


def _wider(root: Path) -> Iterator[Row]:
    for file in sorted(root.glob("studies/flatness/*/flatness.json")):
        for measure, samples in flatness_samples(load_flatness(file)).items():
            ours = [sample for sample in samples if sample.name == "entropy-sgd"]
            others = [sample for sample in samples if sample.name != "entropy-sgd"]
            for a, b in product(ours, others if not measure.startswith(NO_WIDTH) else ()):
                digits = 2 - math.floor(math.log10(max(abs(b.mean), 1e-9)))
                yield _row(f"{file.parent.name}: {measure}", a, b, 0.0, max(digits, 0))


def _every(root: Path) -> list[Group]:
    files = [*root.glob("paper/**/config.json"), *root.glob("studies/**/config.json")]
    kinds = sorted({file.parent.parent for file in files})
    return group_runs(folder for kind in kinds for folder in folders_in(kind))


CLAIMS = (
    Claim(
        "Entropy-SGD needs fewer gradients than SGD or Adam",
        "Gradient evaluations until a run is first within a tenth of its opponent's final error "
        "(a hundredth of a nat, or of a perplexity); evaluations are two epochs apart at the most.",
        _faster,
    ),
    Claim(
        "It generalises as well",
        "Test error at the end, at most a tenth above the opponent's (a hundredth of a nat, or of "
        "a perplexity).",
        _comparable,
    ),
    Claim(
        "It ends at a lower training loss",
        "Cross-entropy of the whole training set at the end, without dropout, in nats.",
        _training_loss,
    ),
    Claim(
        "Larger rates are usable",
        "Largest rate of a grid whose validation error is at most 1.25 times the grid's best: the "
        "anchor's and the walk's, against SGD's.",
        _rates,
    ),
    Claim(
        "It is insensitive to L, the steps of a walk",
        "Validation error at equal gradients, at most a tenth above that of the grid's best.",
        _insensitive("optimizer.langevin_steps"),
    ),
    Claim(
        "It is insensitive to the thermal noise",
        "The same for the noise.",
        _insensitive("optimizer.noise"),
    ),
    Claim(
        "Annealing the walk's rate hurts",
        "Validation error with a constant walk's rate, against one that falls by a cosine.",
        _annealing,
    ),
    Claim(
        "It ends in wider valleys",
        "Every measure of `widevalley flatness` at the ends of runs of comparable training loss, "
        "against that of SGD and of Adam; all grow with narrowness. Of local entropy `walls` is "
        "what curvature adds, `rise` the same less what a slope at the end takes off.",
        _wider,
    ),
    Claim(
        "SGLD alone is worse",
        "Test error at the end of Entropy-SGD, and of SGD or Adam, against SGLD's.",
        _sgld,
    ),
)
