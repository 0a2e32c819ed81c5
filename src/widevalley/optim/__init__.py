"""Optimizers that look for wide valleys; the ground floor, which needs torch and nothing else."""

from widevalley.optim import gradient_point, readout, scoping, workers
from widevalley.optim._anchored import AnchoredOptimizer
from widevalley.optim._conventions import Conventions
from widevalley.optim.batch_norm import recompute_batch_norm
from widevalley.optim.entropy_adam import EntropyAdam
from widevalley.optim.entropy_sgd import EntropySGD
from widevalley.optim.local_entropy import LocalEntropy
from widevalley.optim.sgld import SGLD

__all__ = [
    "SGLD",
    "AnchoredOptimizer",
    "Conventions",
    "EntropyAdam",
    "EntropySGD",
    "LocalEntropy",
    "gradient_point",
    "readout",
    "recompute_batch_norm",
    "scoping",
    "workers",
]
