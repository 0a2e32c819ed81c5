"""What to run: typed recipes, comparisons, sweeps, and the paper's tables."""

from widevalley.experiments.flatness_measures import FlatnessConfig
from widevalley.experiments.flatness_of_runs import measure_flatness
from widevalley.experiments.flatness_record import Flatness, Measure, load_flatness
from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.measure_spectrum import density, exact, fisher
from widevalley.experiments.paper_results import QUOTED, Quoted
from widevalley.experiments.paper_runs import reproduce, small
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import PAPER, RECIPES
from widevalley.experiments.run_end import LossConfig, finished_run
from widevalley.experiments.series import compare, seeds_of, train
from widevalley.experiments.slice_loss import LandscapeConfig, around, between, slices
from widevalley.experiments.theory_checks import THEORY_CHECKS, TheoryCheck

__all__ = [
    "PAPER",
    "QUOTED",
    "RECIPES",
    "THEORY_CHECKS",
    "Flatness",
    "FlatnessConfig",
    "LandscapeConfig",
    "LossConfig",
    "Measure",
    "Quoted",
    "Recipe",
    "TheoryCheck",
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
