"""Curvature at given weights: products, the whole matrix, eigenvalues, densities, traces."""

from widevalley.valley.hessian.assembly import AssembledMatrix, assemble
from widevalley.valley.hessian.blocks import ParameterBlock, layer_blocks
from widevalley.valley.hessian.curvature import (
    Curvature,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
)
from widevalley.valley.hessian.density import Density, spectral_density
from widevalley.valley.hessian.eigvalsh import SpectrumError, eigenvalues_
from widevalley.valley.hessian.extremes import (
    ExtremeEigenvalues,
    extreme_eigenvalues,
    top_eigenvectors,
)
from widevalley.valley.hessian.fisher import (
    FisherDiagonal,
    fisher_diagonal,
    fisher_diagonal_of_adam,
)
from widevalley.valley.hessian.full_spectrum import Spectrum, exact_spectrum, probed_values
from widevalley.valley.hessian.hutchpp import trace
from widevalley.valley.hessian.kfac import KFAC
from widevalley.valley.hessian.operators import DenseOperator, SymmetricOperator

__all__ = [
    "KFAC",
    "AssembledMatrix",
    "Curvature",
    "DenseOperator",
    "Density",
    "EmpiricalFisher",
    "ExtremeEigenvalues",
    "FisherDiagonal",
    "GaussNewton",
    "Hessian",
    "ParameterBlock",
    "Spectrum",
    "SpectrumError",
    "SymmetricOperator",
    "assemble",
    "eigenvalues_",
    "exact_spectrum",
    "extreme_eigenvalues",
    "fisher_diagonal",
    "fisher_diagonal_of_adam",
    "layer_blocks",
    "probed_values",
    "spectral_density",
    "top_eigenvectors",
    "trace",
]
