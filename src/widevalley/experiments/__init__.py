"""What to run: typed recipes, comparisons, sweeps, and the paper's tables."""

from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.quoted import QUOTED, Quoted
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import PAPER, RECIPES, SMALL
from widevalley.experiments.reproduction import reproduce, small
from widevalley.experiments.series import compare, seeds_of, train
from widevalley.experiments.spectra import SpectrumConfig, density, exact, finished_run, fisher

__all__ = [
    "PAPER",
    "QUOTED",
    "RECIPES",
    "SMALL",
    "Quoted",
    "Recipe",
    "SpectrumConfig",
    "Trial",
    "compare",
    "density",
    "exact",
    "finished_run",
    "fisher",
    "grid",
    "reproduce",
    "seeds_of",
    "small",
    "sweep",
    "train",
]
