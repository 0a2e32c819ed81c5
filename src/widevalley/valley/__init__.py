"""Instruments that measure the loss around given weights; needs torch and NumPy alone.

| namespace | what is in it |
|---|---|
| `hessian` | products, the whole matrix, eigenvalues, densities, traces, Fisher information |
| `entropy` | local entropy: closed forms, Laplace's method, from chains |
| `landscape` | slices and planes, rise under perturbations, the toy landscape |
| `robustness` | copies of a module rounded to few bits, or with noise in its weights |
| `samplers` | Langevin and Hamiltonian chains around an anchor, and their diagnostics |
| `theory` | the paper's equations as functions; bounds on the risk in `theory.pac_bayes` |

Here are the names most users need first; each lives in a namespace too.
"""

try:
    import numpy as _numpy  # noqa: F401
except ImportError as error:
    raise ImportError("widevalley.valley needs numpy: pip install 'widevalley[valley]'") from error

from widevalley.valley import entropy, hessian, landscape, robustness, samplers, theory
from widevalley.valley.estimate import Estimate
from widevalley.valley.hessian import (
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    exact_spectrum,
    extreme_eigenvalues,
    spectral_density,
    trace,
)
from widevalley.valley.objective import BatchNormStatistics, Loss, Objective, Progress

__all__ = [
    "BatchNormStatistics",
    "EmpiricalFisher",
    "Estimate",
    "GaussNewton",
    "Hessian",
    "Loss",
    "Objective",
    "Progress",
    "entropy",
    "exact_spectrum",
    "extreme_eigenvalues",
    "hessian",
    "landscape",
    "robustness",
    "samplers",
    "spectral_density",
    "theory",
    "trace",
]
