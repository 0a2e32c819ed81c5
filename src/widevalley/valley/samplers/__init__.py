"""Markov chains around an anchor, and what their means are worth."""

from widevalley.valley.samplers.chains import Chains, sample
from widevalley.valley.samplers.diagnostics import (
    NotMixed,
    effective_sample_size,
    mean_and_error,
    r_hat,
)
from widevalley.valley.samplers.sgmcmc import (
    SAMPLERS,
    PSGLDSampler,
    Sampler,
    SGHMCSampler,
    SGLDSampler,
    SGNHTSampler,
)

__all__ = [
    "SAMPLERS",
    "Chains",
    "NotMixed",
    "PSGLDSampler",
    "SGHMCSampler",
    "SGLDSampler",
    "SGNHTSampler",
    "Sampler",
    "effective_sample_size",
    "mean_and_error",
    "r_hat",
    "sample",
]
