"""Where the gradient is taken: points beside the walker, at one gradient a step.

A gradient point maps a `Part` of the parameters to what is added to the walker x' for the next
gradient, a tensor like the part's anchor, or None for nothing. Before the step that is taken off
again, and the walker moves as ever, by the gradient found. It is off by no more than the rounding
of one addition then, and by nothing where the walk has just begun or the walker is kept beside a
parameter of low precision: there it is copied. A point with a true attribute ``keeps`` leads where
the way back cannot be found: there the walker is kept meanwhile, at a copy of the parameters. One
with a true attribute ``stays`` moves the walker itself instead.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from widevalley.optim._noise import LAWS
from widevalley.optim._validation import at_least, check, finite, switch, whole


class Part(ABC):
    """One parameter, or small ones side by side; all tensors of it have one shape."""

    count: int
    """The number of the gradient, from 1 on."""

    @abstractmethod
    def anchor(self) -> Tensor:
        """The anchor x; where ``langevin_steps`` is 1 the walker is there, too."""

    @abstractmethod
    def walker(self) -> Tensor:
        """The walker x'; for points that ``keeps`` is true of, no others could be taken off."""

    @abstractmethod
    def average(self) -> Tensor:
        """The read-out; ValueError where there is none."""

    @abstractmethod
    def momentum(self) -> Tensor | None:
        """The walk's momentum v, or inner's (``momentum_buffer``, ``exp_avg``); None before any.

        ValueError where a step has left none.
        """

    @abstractmethod
    def momentum_norm(self) -> Tensor:
        """The Euclidean norm of the momentum of all parameters of the optimizer."""

    @abstractmethod
    def noise(self, law: str = "gaussian") -> Tensor:
        """Independent numbers of mean 0 and variance 1, keyed by the gradient's number."""

    @abstractmethod
    def row_means(self, t: Tensor) -> Tensor:
        """For each number the mean of its row or filter, or of the whole, if of one dimension.

        Where such a row is cut into shards it costs an all-reduce of a number a row.
        """

    @abstractmethod
    def row_maxima(self, t: Tensor) -> Tensor:
        """The same of the largest; 0 where there is one dimension."""


GradientPoint = Callable[[Part], Tensor | None]
"""From a part of the parameters to what is added to its walker, None for 0."""


@dataclass(frozen=True)
class Smoothing:
    """The walker plus sigma s z, z ~ N(0, I): descends E f(x' + sigma s z), f smoothed.

    Args:
        sigma: spread of the noise, >= 0.
        relative: s is the root mean square of the row or filter of the anchor that the number
            belongs to (of the whole, where it has one dimension), else 1. Where such a row is cut
            into shards this costs an all-reduce of a number a row.
        every: each ``every``-th gradient >= 1 alone is taken beside the walker if above 1, the
            others at the walker itself; 1 smooths them all.
        law: "gaussian", or "two-point" for ±1.
        start: gradients >= 0 at the beginning that are taken at the walker: smoothing the last
            fifth of a run alone costs the least of its loss.

    Source: Bisla et al., arXiv 2201.08025 (LPF-SGD, scaled by filters); Li et al., arXiv
    2404.00357 (RWP, better mixed with the clean loss).
    """

    sigma: float
    relative: bool = True
    every: int = 1
    law: str = "gaussian"
    start: int = 0

    def __post_init__(self) -> None:
        check("sigma", self.sigma, *at_least(0))
        check("relative", self.relative, *switch())
        check("every", self.every, *whole(1))
        check("start", self.start, *whole(0))
        if self.law not in LAWS:
            raise ValueError(f"law must be one of {', '.join(LAWS)}, got {self.law!r}")

    def __call__(self, part: Part) -> Tensor | None:
        """Return sigma s z."""
        if not self.sigma or part.count < self.start or part.count % self.every:
            return None
        z = part.noise(self.law).mul_(self.sigma)
        return z.mul_(part.row_means(part.anchor().square()).sqrt_()) if self.relative else z


@dataclass(frozen=True)
class AlongMomentum:
    """The walker less rho v / ‖v‖, v the momentum: MSAM, which looks ahead along the walk.

    ‖v‖ is the norm over all parameters; a negative ``rho`` looks back. The momentum is that of the
    walk, or of ``LocalEntropy``'s inner optimizer.

    Source: Becker et al., arXiv 2401.12033.
    """

    rho: float
    needs_momentum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("rho", self.rho, *finite())

    def __call__(self, part: Part) -> Tensor | None:
        """Return -rho v / ‖v‖, nothing where v is 0."""
        v = part.momentum()
        if v is None:
            return None
        scale = (-self.rho / part.momentum_norm()).nan_to_num_(posinf=0, neginf=0)
        return v * scale.to(v)


@dataclass(frozen=True)
class Interpolation:
    """The walker and ``share`` of the way from the anchor to the read-out average.

    With ``langevin_steps=1``, where anchor and walker z are one, y = (1 - share) z + share x: the
    point of Schedule-Free (``readout.Uniform()``) and of GPA (``readout.EMA(mu_x,
    unbiased=False)``).

    Source: Defazio et al., arXiv 2405.15682; GPA, arXiv 2512.17131.
    """

    share: float
    needs_readout: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("share", self.share, *finite())

    def __call__(self, part: Part) -> Tensor | None:
        """Return share (average - anchor)."""
        return (part.average() - part.anchor()).mul_(self.share) if self.share else None


@dataclass(frozen=True)
class Extrapolation:
    """The walker goes on by ``factor`` times the way from the read-out average to the anchor.

    It stays there: the step is taken from there. With ``langevin_steps=1`` and
    ``readout.EMA(d, unbiased=False)`` that way is d / (1 - d) times the moving average m of
    the anchor's steps, and factor = beta (1 - d) / d is EMA-Nesterov's x <- A(x + beta m).

    Args:
        factor: a number, or a function of the count of gradients, from 1 on.

    Source: Yau et al., arXiv 2605.25395.
    """

    factor: float | Callable[[int], float]
    stays: ClassVar[bool] = True
    needs_readout: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not callable(self.factor):
            check("factor", self.factor, *finite())

    def __call__(self, part: Part) -> Tensor | None:
        """Return factor (anchor - average)."""
        factor = self.factor(part.count) if callable(self.factor) else self.factor
        return (part.anchor() - part.average()).mul_(factor) if factor else None


@dataclass(frozen=True)
class Rounding:
    """The walker rounded to ``bits`` bits: trains weights that are to be rounded afterwards.

    Each matrix or filter goes to the nearest of 2^bits - 1 equally spaced values, symmetric about
    0, of each row, as `valley.robustness.round_to_nearest` does; parameters of one dimension stay.
    The step is the walker's, by the gradient found there (the straight-through estimate). The
    walker is kept meanwhile, at a copy of the parameters.

    Args:
        bits: from 2 on.
        start: gradients >= 0 at the beginning that are taken at the walker.

    Source: Courbariaux et al., NeurIPS 2015; Jacob et al., CVPR 2018 (training aware of rounding).
    """

    bits: int
    start: int = 0
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check("bits", self.bits, *whole(2))
        check("start", self.start, *whole(0))

    def __call__(self, part: Part) -> Tensor | None:
        """Return s round(x' / s) - x', s the largest of a row over 2^(bits - 1) - 1."""
        if part.count < self.start:
            return None
        x = part.walker()
        s = part.row_maxima(x.abs()) / (2 ** (self.bits - 1) - 1)
        rounded = torch.where(s > 0, s * (x / s).round(), x)
        return rounded - x
