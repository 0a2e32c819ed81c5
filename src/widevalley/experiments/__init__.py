"""What to run: typed recipes, comparisons, sweeps, and the paper's tables."""

from widevalley.experiments.endpoint import LossConfig, finished_run
from widevalley.experiments.flatness import (
    Flatness,
    FlatnessConfig,
    load_flatness,
    measure_flatness,
)
from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.landscapes import LandscapeConfig, around, between, slices
from widevalley.experiments.quoted import QUOTED, Quoted
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import PAPER, RECIPES
from widevalley.experiments.reproduction import reproduce, small
from widevalley.experiments.series import compare, seeds_of, train
from widevalley.experiments.spectra import density, exact, fisher

__all__ = [
    "PAPER",
    "QUOTED",
    "RECIPES",
    "Flatness",
    "FlatnessConfig",
    "LandscapeConfig",
    "LossConfig",
    "Quoted",
    "Recipe",
    "Trial",
    "around",
    "between",
    "compare",
    "density",
    "exact",
    "finished_run",
    "fisher",
    "grid",
    "load_flatness",
    "measure_flatness",
    "reproduce",
    "seeds_of",
    "slices",
    "small",
    "sweep",
    "train",
]
