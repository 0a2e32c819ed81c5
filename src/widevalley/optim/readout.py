"""Read-outs: an average of the anchors that survives the walks.

A read-out is any callable that maps the count k = 1, 2, 3, … of an anchor to its weight c in

    average <- (1 - c) average + c x

after each outer update; before the first the average is what the weights began with. A plain
number d as ``readout`` means ``EMA(d)``. With ``langevin_steps=1`` the anchors are an inner
optimizer's iterates.
"""

from collections.abc import Callable
from dataclasses import dataclass

from widevalley.optim._validation import at_least, below_one, check, positive, switch, whole

ReadOut = Callable[[int], float]


@dataclass(frozen=True)
class EMA:
    """Weights that fall by ``decay`` in [0, 1) from anchor to anchor.

    c = (1 - decay) / (1 - decay^k), as Adam's corrected moments have it; or c = 1 - decay where
    it shall not be ``unbiased``, and the weights of the beginning keep decay^k.
    """

    decay: float
    unbiased: bool = True

    def __post_init__(self) -> None:
        check("decay", self.decay, *below_one())
        check("unbiased", self.unbiased, *switch())

    def __call__(self, k: int) -> float:
        """Return the weight of anchor k."""
        return (1 - self.decay) / (1 - self.decay**k if self.unbiased else 1)


@dataclass(frozen=True)
class Uniform:
    """Equal weights of the anchors from number ``start`` >= 1 on; until then the last one alone.

    c = 1 / (k - start + 1): stochastic weight averaging (Izmailov et al. 2018).
    """

    start: int = 1

    def __post_init__(self) -> None:
        check("start", self.start, *whole(1))

    def __call__(self, k: int) -> float:
        """Return the weight of anchor k."""
        return 1 / max(k - self.start + 1, 1)


@dataclass(frozen=True)
class PowerLaw:
    """Weights that grow as k^power, so that the window is a constant fraction of the run.

    c = (power + 1) / (k + power): polynomial-decay averaging (Shamir & Zhang 2013); power >= 0.
    """

    power: float

    def __post_init__(self) -> None:
        check("power", self.power, *at_least(0))

    def __call__(self, k: int) -> float:
        """Return the weight of anchor k."""
        return (self.power + 1) / (k + self.power)


class Weighted:
    """Weights of your own: c = weight(k) / (weight(1) + … + weight(k)), all > 0.

    Schedule-Free under a warm-up weighs by the square of the rate of step k.
    """

    def __init__(self, weight: Callable[[int], float]) -> None:
        self._weight, self._upto, self._sum = weight, 0, 0.0

    def __call__(self, k: int) -> float:
        """Return the weight of anchor k."""
        if k < self._upto:
            self._upto, self._sum = 0, 0.0
        for i in range(self._upto + 1, k + 1):  # one by one, so that a resumed run has each bit
            self._sum += self._weight(i)
        self._upto = k
        check(f"the sum of weights to {k}", self._sum, *positive())
        return self._weight(k) / self._sum


def as_readout(readout: float | ReadOut) -> ReadOut:
    """The read-out that an optimizer's ``readout`` stands for: itself, or EMA of it."""
    return readout if callable(readout) else EMA(readout)
