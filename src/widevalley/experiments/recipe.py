"""What a recipe is: a task, and the settings it is solved with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from widevalley.training import RunConfig, Task


@dataclass(frozen=True)
class Recipe:
    """A task with its runs: variants by name, and for a comparison one of each optimizer."""

    task: Task
    title: str
    """One line for help and headings."""
    variants: Mapping[str, RunConfig] = field(default_factory=dict)
    """Runs by name, each at its own cost: the paper's settings, its baseline, ours (best), and
    a baseline tuned as ours was, at the same cost (tuned)."""
    tuned: tuple[RunConfig, ...] = ()
    """The default run of each optimizer; every one spends the same gradient evaluations."""
    compared: tuple[str, ...] = ()
    """Optimizers that a comparison takes by default."""
    holdout: int = 0
    """Training samples a sweep judges by; 0 where the data have a validation split."""

    @property
    def name(self) -> str:
        """The name on the command line."""
        return self.task.name

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Names of the optimizers it has tuned runs of."""
        return tuple(config.optimizer.name for config in self.tuned)

    def config(self, optimizer: str) -> RunConfig:
        """The tuned run of an optimizer. Raises ValueError where it has none."""
        for config in self.tuned:
            if config.optimizer.name == optimizer:
                return config
        hint = f", so --variant {optimizer}" if optimizer in self.variants else ""
        raise ValueError(f"optimizer {optimizer!r}: {self.name} has {self.choices}{hint}")

    def variant(self, name: str) -> RunConfig:
        """The run of this name. Raises ValueError where there is none."""
        if name not in self.variants:
            raise ValueError(f"variant {name!r}: {self.name} has {self.choices}")
        return self.variants[name]

    @property
    def default(self) -> str:
        """The run that is taken where none is named: of the first optimizer, or ours, or any."""
        if self.tuned:
            return self.optimizers[0]
        return "best" if "best" in self.variants else next(iter(self.variants))

    @property
    def choices(self) -> str:
        """The names that `config` and `variant` take, in words."""
        kinds = {"optimizers": self.optimizers, "variants": tuple(self.variants)}
        return "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names)


def with_dropout(network: Callable[..., nn.Module]) -> Callable[[RunConfig], nn.Module]:
    """How a task builds a network that takes `dropout` and `input_dropout`: with the run's own."""

    def build(config: RunConfig) -> nn.Module:
        return network(dropout=config.dropout, input_dropout=config.input_dropout)

    return build


def run_path(root: Path, recipe: Recipe, *parts: str, seed: int) -> Path:
    """Where a run lives: ROOT/RECIPE/PARTS.../seed-SEED."""
    return root.joinpath(recipe.name, *parts, f"seed-{seed}")


def check_equal_cost(configs: Sequence[RunConfig]) -> None:
    """Raise ValueError unless all spend the same gradient evaluations on the same batches."""
    # Batches too: of half the size, there are twice as many gradients in an epoch.
    costs = {(config.epochs, config.batch_size) for config in configs}
    if len(costs) > 1:
        shown = "; ".join(
            f"{c.optimizer.name} {c.epochs:g} epochs of batch {c.batch_size}" for c in configs
        )
        raise ValueError(f"a comparison needs equal gradient evaluations, not {shown}")
