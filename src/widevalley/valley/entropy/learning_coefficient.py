r"""The local learning coefficient, from the losses of chains.

With f^* the loss at the anchor, a local minimum, and the law exp(-\beta f) localised around it,

    \lambda = \beta (<f> - f^*)

tends to the local learning coefficient as \beta grows and \gamma falls: n/2 for n weights of a
regular minimum, less where it is degenerate (Lau, Furman, Wang, Murfet and Wei, 2023, who write
n \beta^* for our \beta, the number of samples in it).
"""

from __future__ import annotations

from widevalley.valley.estimate import Estimate
from widevalley.valley.samplers.chains import Chains
from widevalley.valley.samplers.diagnostics import effective_sample_size, mean_and_error


def local_learning_coefficient(chains: Chains, *, anchor_loss: float | None = None) -> Estimate:
    r"""\lambda = \beta (<f> - f^*), from chains of a small scope.

    A scope that is not small takes directions of curvature below it out: of a quadratic loss
    \lambda is \sum_i h_i / (2 (h_i + \gamma)) over the eigenvalues h_i of its Hessian.

    Args:
        chains: of a scope far below the curvatures that are to count.
        anchor_loss: f^*, by default that of the weights the chains were run around.

    Warns with NotMixed where the chains are too short or disagree.
    """
    mean, error = mean_and_error(chains.loss, "the loss of the chains")
    beta = chains.facts["beta"]
    base = chains.facts["anchor_loss"] if anchor_loss is None else anchor_loss
    degrees = max(effective_sample_size(chains.loss) - 1, 1)
    return Estimate(beta * (mean - base), beta * error, degrees)
