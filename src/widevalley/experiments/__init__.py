"""What to run: typed recipes, comparisons, sweeps."""

from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import RECIPES
from widevalley.experiments.series import compare, seeds_of, train

__all__ = ["RECIPES", "Recipe", "Trial", "compare", "grid", "seeds_of", "sweep", "train"]
