"""Instruments that measure the loss around given weights; needs torch and NumPy alone."""

from widevalley.valley import theory
from widevalley.valley.chains import Trace, sample
from widevalley.valley.diagnostics import NotMixed, effective_samples, mean_and_error, r_hat
from widevalley.valley.eigenvalues import SpectrumError, eigenvalues_
from widevalley.valley.exact_entropy import Quadratic, local_entropy_on_grid
from widevalley.valley.fisher import FisherDiagonal, fisher_diagonal, fisher_diagonal_of_adam
from widevalley.valley.flatness import local_energy, sharpness
from widevalley.valley.lanczos import (
    Density,
    Extremes,
    extreme_eigenvalues,
    spectral_density,
    top_eigenvector,
)
from widevalley.valley.landscape import Slice, lines, plane, plane_through, random_direction
from widevalley.valley.local_entropy import (
    Laplace,
    entropy_differences,
    entropy_gradient,
    entropy_gradient_norm,
    laplace,
)
from widevalley.valley.matrix import Matrix, dense
from widevalley.valley.objective import BatchNormStatistics, Objective, Progress
from widevalley.valley.operators import Dense, EmpiricalFisher, GaussNewton, Hessian
from widevalley.valley.samplers import PSGLD, SAMPLERS, SGHMC, SGLD, SGNHT, Sampler
from widevalley.valley.spectrum import Spectrum, exact_spectrum, probed_values
from widevalley.valley.toy import Toy, toy_landscape
from widevalley.valley.trace import Estimate, trace

__all__ = [
    "PSGLD",
    "SAMPLERS",
    "SGHMC",
    "SGLD",
    "SGNHT",
    "BatchNormStatistics",
    "Dense",
    "Density",
    "EmpiricalFisher",
    "Estimate",
    "Extremes",
    "FisherDiagonal",
    "GaussNewton",
    "Hessian",
    "Laplace",
    "Matrix",
    "NotMixed",
    "Objective",
    "Progress",
    "Quadratic",
    "Sampler",
    "Slice",
    "Spectrum",
    "SpectrumError",
    "Toy",
    "Trace",
    "dense",
    "effective_samples",
    "eigenvalues_",
    "entropy_differences",
    "entropy_gradient",
    "entropy_gradient_norm",
    "exact_spectrum",
    "extreme_eigenvalues",
    "fisher_diagonal",
    "fisher_diagonal_of_adam",
    "laplace",
    "lines",
    "local_energy",
    "local_entropy_on_grid",
    "mean_and_error",
    "plane",
    "plane_through",
    "probed_values",
    "r_hat",
    "random_direction",
    "sample",
    "sharpness",
    "spectral_density",
    "theory",
    "top_eigenvector",
    "toy_landscape",
    "trace",
]
