"""What the paper leaves open, or does otherwise in its code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Conventions:
    """What the paper leaves open, or does otherwise in its code; each an entry of the groups.

    Args:
        langevin_nesterov: Nesterov's momentum in the walk instead of heavy-ball.
        reset_momentum: start every walk with the walk's momentum at 0.
        momentum_on_all: put the pull and the noise through the walk's momentum too, not the
            gradient of f alone.
        scale_by_gamma: keep the factor gamma of line 7: x <- x - lr gamma (x - mu).
        noise_free_mean: average x' - n in line 6, n being the walk that the same noise makes where
            f is flat: n <- (1 - langevin_lr gamma) n + sqrt(langevin_lr) noise N(0, I). A walk that
            explores then leaves no noise in the anchor along flat directions. Takes 4 bytes a
            number; not together with momentum_on_all.
    """

    langevin_nesterov: bool = True
    reset_momentum: bool = True
    momentum_on_all: bool = False
    scale_by_gamma: bool = False
    noise_free_mean: bool = False


PAPER = Conventions()
