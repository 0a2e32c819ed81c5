"""Train neural networks so that they end in wide valleys of the loss."""

from widevalley.optim import (
    SGLD,
    EntropyAdam,
    EntropySGD,
    GraphedStep,
    LocalEntropy,
    recompute_batch_norm,
    scoping,
)

__version__ = "0.1.0"

__all__ = [
    "SGLD",
    "EntropyAdam",
    "EntropySGD",
    "GraphedStep",
    "LocalEntropy",
    "recompute_batch_norm",
    "scoping",
]
