r"""The theory as small functions, each one equation; docs/theory.md has their numbers.

The paper's equations stand here, bounds on the risk of a Gibbs law in `pac_bayes`.

Notation: f is \alpha-Lipschitz and \beta-smooth, \gamma the scope, c the width of the gap: the
theory assumes that no eigenvalue of the Hessian of f lies in [-2 \gamma - c, c].
"""

from widevalley.valley.theory import pac_bayes
from widevalley.valley.theory.equations import (
    GaussianModel,
    lemma_on_a_line,
    lipschitz_bound,
    minimisers,
    sgd_stability,
    slope_and_curvature,
    smoothed_curvature,
    smoothness_bound,
    stability_exponent,
    stability_exponent_small_beta,
)

__all__ = [
    "GaussianModel",
    "lemma_on_a_line",
    "lipschitz_bound",
    "minimisers",
    "pac_bayes",
    "sgd_stability",
    "slope_and_curvature",
    "smoothed_curvature",
    "smoothness_bound",
    "stability_exponent",
    "stability_exponent_small_beta",
]
