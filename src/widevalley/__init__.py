"""Train neural networks so that they end in wide valleys of the loss."""

from widevalley import gradient_point, readout, scoping, workers
from widevalley.optim import (
    SGLD,
    Conventions,
    EntropyAdam,
    EntropySGD,
    LocalEntropy,
    recompute_batch_norm,
)

__version__ = "0.1.0"

__all__ = [
    "SGLD",
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
