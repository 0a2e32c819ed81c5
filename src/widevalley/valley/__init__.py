"""Instruments that measure the loss around given weights; needs torch and NumPy alone."""

from widevalley.valley.eigenvalues import SpectrumError, eigenvalues_
from widevalley.valley.fisher import FisherDiagonal, fisher_diagonal, fisher_diagonal_of_adam
from widevalley.valley.lanczos import Density, Extremes, extreme_eigenvalues, spectral_density
from widevalley.valley.matrix import Matrix, dense
from widevalley.valley.objective import Objective
from widevalley.valley.operators import Dense, EmpiricalFisher, GaussNewton, Hessian
from widevalley.valley.spectrum import Spectrum, exact_spectrum, probed_values
from widevalley.valley.trace import Estimate, trace

__all__ = [
    "Dense",
    "Density",
    "EmpiricalFisher",
    "Estimate",
    "Extremes",
    "FisherDiagonal",
    "GaussNewton",
    "Hessian",
    "Matrix",
    "Objective",
    "Spectrum",
    "SpectrumError",
    "dense",
    "eigenvalues_",
    "exact_spectrum",
    "extreme_eigenvalues",
    "fisher_diagonal",
    "fisher_diagonal_of_adam",
    "probed_values",
    "spectral_density",
    "trace",
]
