"""What a recipe is: a task, and the settings each optimizer solves it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widevalley.training import RunConfig, Task


@dataclass(frozen=True)
class Recipe:
    """A task and, for each optimizer, the run tuned for it."""

    task: Task
    title: str
    """One line for help and headings."""
    tuned: tuple[RunConfig, ...]
    """The default run of each optimizer; every one spends the same gradient evaluations."""
    compared: tuple[str, ...]
    """Optimizers that a comparison takes unless told."""
    holdout: int
    """Training samples a sweep judges by."""

    @property
    def name(self) -> str:
        """The name on the command line."""
        return self.task.name

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Names of the optimizers it has settings for."""
        return tuple(config.optimizer.name for config in self.tuned)

    def config(self, optimizer: str) -> RunConfig:
        """The tuned run of an optimizer. Raises ValueError where it has none."""
        for config in self.tuned:
            if config.optimizer.name == optimizer:
                return config
        allowed = ", ".join(self.optimizers)
        raise ValueError(f"optimizer {optimizer!r}: {self.name} has settings for {allowed}")


def run_path(root: Path, recipe: Recipe, *parts: str, seed: int) -> Path:
    """Where a run lives: ROOT/RECIPE/PARTS.../seed-SEED."""
    return root.joinpath(recipe.name, *parts, f"seed-{seed}")


def check_equal_cost(configs: Sequence[RunConfig]) -> None:
    """Raise ValueError unless all spend the same gradient evaluations on the same batches."""
    costs = {(config.epochs, config.batch_size) for config in configs}
    if len(costs) > 1:
        shown = "; ".join(
            f"{c.optimizer.name} {c.epochs:g} epochs of batch {c.batch_size}" for c in configs
        )
        raise ValueError(f"a comparison needs equal gradient evaluations, not {shown}")
