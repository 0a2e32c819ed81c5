"""The paper's Table 1, its SGLD results and Fig. 4 to 6, from run folders beside what it reports.

Runs are at ROOT/RECIPE/VARIANT/seed-N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from widevalley.experiments import QUOTED, Recipe
from widevalley.report.copied_runs import copy_runs, provenance
from widevalley.report.curves import Panel, draw_panels
from widevalley.report.groups import Group, folders_in, group_runs
from widevalley.report.table import Cells, markdown_table
from widevalley.training import RunFolder

SGLD = "sgld"
HEADS = ["run", "optimizer", "seeds", "test", "validation"]
HEADS += ["epochs", "gradients", "minutes", "the paper's"]
FIGURES = {
    "figure-4": ("mnistfc", "lenet"),
    "figure-5": ("allcnn",),
    "figure-6": ("ptb", "charlstm"),
}
NOTES = """\
Error in percent, perplexity for ptb, nats a character for charlstm (which the paper calls its
perplexity; bits are nats / log 2). Mean over seeds ± standard error of the mean, at the last
gradient evaluation; batch-norm statistics are of training data. Epochs are gradient evaluations
over the batches of the training set, for every method alike; minutes are those of a whole run,
evaluations included. "8 of 200" epochs are a whole schedule in that part of the gradients, rates
falling at the same fractions of the run. The paper's are test / validation, at the epochs it quotes
them for.
"""


def table_1(root: Path, recipes: Sequence[Recipe]) -> Cells:
    """Each variant but SGLD of each recipe."""
    named = [(recipe, name) for recipe in recipes for name in recipe.variants if name != SGLD]
    return HEADS, [_row(root, recipe, name) for recipe, name in named]


def sgld_table(root: Path, recipes: Sequence[Recipe]) -> Cells:
    """SGLD on each recipe, as in the paper's Appendix C."""
    return HEADS, [_row(root, recipe, SGLD) for recipe in recipes if SGLD in recipe.variants]


def write_reproduction(root: Path, recipes: Sequence[Recipe]) -> list[Path]:
    """Write table.md and the figures that have a curve into `root`; returns their paths."""
    root.mkdir(parents=True, exist_ok=True)
    groups = {recipe.name: _groups(root, recipe) for recipe in recipes}
    table = root / "table.md"
    every = [group for members in groups.values() for group in members]
    table.write_text(
        f"# The paper's networks\n\n{markdown_table(table_1(root, recipes))}\n"
        f"## SGLD\n\n{markdown_table(sgld_table(root, recipes))}\n{NOTES}\n{provenance(every)}"
    )
    return [table, *draw_paper_figures(root, recipes)]


def draw_paper_figures(root: Path, recipes: Sequence[Recipe]) -> list[Path]:
    """Draw the figures that have a curve into `root`; returns their paths."""
    groups = {recipe.name: _groups(root, recipe) for recipe in recipes}
    return [path for name in FIGURES if (path := _draw(name, groups, root))]


def copy_reproduction(root: Path, recipes: Sequence[Recipe], to: Path) -> list[Path]:
    """Copy the runs that have a record to `to`, without checkpoints, and write the files there.

    Raises ValueError, before anything is written, where `to` holds runs of other settings.
    """
    folders = [
        folder
        for recipe in recipes
        for name in recipe.variants
        for folder in folders_in(root / recipe.name / name)
        if folder.records
    ]
    copy_runs({folder: to / folder.path.relative_to(root) for folder in folders})
    return write_reproduction(to, recipes)


def _draw(name: str, groups: dict[str, list[Group]], root: Path) -> Path | None:
    panels = []
    for recipe in FIGURES[name]:
        # SGLD has a table of its own; its many more gradients would press the others together.
        drawn = [g for g in groups.get(recipe, []) if g.folders[0].path.parent.name != SGLD]
        if drawn:
            metric = drawn[0].metric
            panels.append(Panel(drawn, metric.field, metric.title, recipe))
    if not panels:
        return None
    path = root / f"{name}.png"
    draw_panels(panels, f"Fig. {name[-1]} of the paper", path)
    return path


def _groups(root: Path, recipe: Recipe) -> list[Group]:
    """The runs of every variant that has a record, by the name they have in a figure."""
    folders = [f for name in recipe.variants for f in folders_in(root / recipe.name / name)]
    return [
        replace(group, name=f"{group.name}, {group.folders[0].config['optimizer']['name']}")
        for group in group_runs(folders, unfinished=True)
    ]


def _row(root: Path, recipe: Recipe, name: str) -> list[str]:
    folders = folders_in(root / recipe.name / name)
    finished = group_runs(folders)
    partial = [folder for folder in folders if not folder.finished]
    if finished:
        cells = _finished(finished[0], len(partial), recipe.variant(name).epochs)
    elif partial:
        # Of several the one that has come furthest.
        cells = _partial(max(partial, key=lambda f: len(f.records) and f.records[-1]["gradients"]))
    else:
        cells = ["0", "not run", "not run", "", "", ""]
    # The optimizer of the runs there are, which may be older than the recipe is now.
    optimizer = recipe.variant(name).optimizer.name
    if folders:
        optimizer = folders[0].config["optimizer"]["name"]
    quoted = "–"
    if (recipe.name, name) in QUOTED:
        paper = QUOTED[recipe.name, name]
        quoted = " / ".join(filter(None, (paper.test, paper.validation)))
        quoted += f" at {paper.epochs}" if paper.epochs else ""
    return [f"{recipe.name} {name}", optimizer, *cells, quoted]


def _finished(group: Group, others: int, whole: float) -> list[str]:
    """`whole` epochs are what the recipe spends."""
    return [
        f"{len(group.folders)}" + (f" (+ {others} partial)" if others else ""),
        _result(group, "test"),
        _result(group, "validation"),
        group.part_of(whole) or f"{group.final('epoch').mean:,.4g}",
        f"{group.final('gradients').mean:,.0f}",
        f"{group.final('seconds').mean / 60:,.1f}",
    ]


def _partial(folder: RunFolder) -> list[str]:
    if not folder.records:
        return ["0", "partial (no evaluation yet)", "", "", "", ""]
    last = folder.records[-1]
    # A record has no total: it follows from the epochs of the settings.
    batches = round(last["gradients"] / last["epoch"])
    total = round(folder.config["epochs"] * batches)
    progress = f"partial ({last['gradients']:,} of {total:,} gradients)"
    group = Group("", (folder,))
    return [
        "0",
        " ".join(filter(None, (progress, _result(group, "test")))),
        _result(group, "validation"),
        f"{last['epoch']:,.4g}",
        f"{last['gradients']:,}",
        f"{last['seconds'] / 60:,.1f}",
    ]


def _result(group: Group, split: str) -> str:
    """The number on this split; nothing where the runs were not evaluated on it."""
    # A text's test tokens are evaluated at the end alone, so a partial run lacks them.
    if not all(f"{split}_loss" in folder.records[-1] for folder in group.folders):
        return ""
    text = group.result(split).shown(group.metric.digits) + group.metric.unit
    if split == "test" and "test_bits" in group.folders[0].records[-1]:
        text += f" ({group.final('test_bits').mean:.3f} bits)"
    return text
