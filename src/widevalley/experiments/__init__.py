"""What to run: typed recipes, comparisons, sweeps, and the paper's tables."""

from widevalley.experiments.binary_mnist import BOUND
from widevalley.experiments.contests import CONTESTS, Contest
from widevalley.experiments.flatness_measures import FlatnessConfig
from widevalley.experiments.flatness_of_runs import measure_flatness
from widevalley.experiments.flatness_record import Flatness, Measure, load_flatness
from widevalley.experiments.grid_search import Trial, grid, sweep
from widevalley.experiments.hardening import (
    Hardening,
    HardeningConfig,
    load_hardening,
    measure_hardening,
)
from widevalley.experiments.measure_spectrum import (
    measure_density,
    measure_exact_spectrum,
    measure_fisher,
)
from widevalley.experiments.methods import METHODS, Method, Parameter, as_flag
from widevalley.experiments.own_model import LOSSES, OwnModel
from widevalley.experiments.pac_bayes_checks import PAC_BAYES_CHECKS
from widevalley.experiments.pac_bayes_laws import PacBayesConfig
from widevalley.experiments.pac_bayes_of_runs import PacBayes, load_pac_bayes, measure_pac_bayes
from widevalley.experiments.paper_results import QUOTED, Quoted
from widevalley.experiments.paper_runs import reproduce, small
from widevalley.experiments.recipe import Recipe
from widevalley.experiments.recipes import PAPER, RECIPES
from widevalley.experiments.run_end import End, LossConfig, finished_run
from widevalley.experiments.series import compare, seeds_of, train
from widevalley.experiments.slice_loss import LandscapeConfig, around, between, slices_through
from widevalley.experiments.theory_checks import THEORY_CHECKS, TheoryCheck
from widevalley.experiments.tournament import Rules, held_out, play

__all__ = [
    "BOUND",
    "CONTESTS",
    "LOSSES",
    "METHODS",
    "PAC_BAYES_CHECKS",
    "PAPER",
    "QUOTED",
    "RECIPES",
    "THEORY_CHECKS",
    "Contest",
    "End",
    "Flatness",
    "FlatnessConfig",
    "Hardening",
    "HardeningConfig",
    "LandscapeConfig",
    "LossConfig",
    "Measure",
    "Method",
    "OwnModel",
    "PacBayes",
    "PacBayesConfig",
    "Parameter",
    "Quoted",
    "Recipe",
    "Rules",
    "TheoryCheck",
    "Trial",
    "around",
    "as_flag",
    "between",
    "compare",
    "finished_run",
    "grid",
    "held_out",
    "load_flatness",
    "load_hardening",
    "load_pac_bayes",
    "measure_density",
    "measure_exact_spectrum",
    "measure_fisher",
    "measure_flatness",
    "measure_hardening",
    "measure_pac_bayes",
    "play",
    "reproduce",
    "seeds_of",
    "slices_through",
    "small",
    "sweep",
    "train",
]
