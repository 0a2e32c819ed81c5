"""Local entropy: in closed form, to second order, and from chains; they agree where all hold."""

from widevalley.valley.entropy.closed_forms import QuadraticLoss, local_entropy_on_grid
from widevalley.valley.entropy.laplace_method import LaplaceApproximation, laplace
from widevalley.valley.entropy.learning_coefficient import local_learning_coefficient
from widevalley.valley.entropy.thermodynamic import (
    GradientEstimate,
    entropy_differences,
    entropy_gradient,
    entropy_gradient_norm,
)

__all__ = [
    "GradientEstimate",
    "LaplaceApproximation",
    "QuadraticLoss",
    "entropy_differences",
    "entropy_gradient",
    "entropy_gradient_norm",
    "laplace",
    "local_entropy_on_grid",
    "local_learning_coefficient",
]
