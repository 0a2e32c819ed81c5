"""What to run: typed recipes, comparisons, sweeps, and the paper's tables."""

from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.quoted import QUOTED, Quoted
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import PAPER, RECIPES
from widevalley.experiments.reproduction import reproduce, small
from widevalley.experiments.series import compare, seeds_of, train

__all__ = [
    "PAPER",
    "QUOTED",
    "RECIPES",
    "Quoted",
    "Recipe",
    "Trial",
    "compare",
    "grid",
    "reproduce",
    "seeds_of",
    "small",
    "sweep",
    "train",
]
