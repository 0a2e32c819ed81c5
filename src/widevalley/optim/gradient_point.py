"""Where the gradient is taken: points beside the walker, at one gradient a step.

A gradient point maps the anchor of a parameter to what is added to the walker before the gradient
is taken there and taken off again before the step; the walker itself moves as ever, by the gradient
found. What is added is made anew for that, from the step's key, and never stored.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from widevalley.optim._base import State
from widevalley.optim._noise import LAWS, WORD, Index, Key, noise, step_key
from widevalley.optim._tensors import element_index, local_real_view
from widevalley.optim._validation import Group, at_least, check, switch, whole

GradientPoint = Callable[[Tensor, Key, Index, int], Tensor | None]
"""(anchor, key, numbers of its elements, count of the gradient) -> what is added, None for 0."""


@dataclass(frozen=True)
class Smoothing:
    """The walker plus sigma s z, z ~ N(0, I): descends E f(x' + sigma s z), f smoothed.

    Args:
        sigma: spread of the noise, >= 0.
        relative: s is the root mean square of the row or filter of the anchor that the number
            belongs to (of the whole, where it has one dimension; of a shard, where it is one);
            else 1.
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

    def __call__(self, anchor: Tensor, key: Key, index: Index, count: int) -> Tensor | None:
        """Return sigma s z for the elements of an anchor that have these numbers."""
        if not self.sigma or count < self.start or count % self.every:
            return None
        z = noise(anchor, key, index, self.law).mul_(self.sigma)
        if not self.relative:
            return z
        dims = tuple(range(1, anchor.dim())) or None
        return z.mul_(anchor.square().mean(dims, keepdim=True).sqrt_())


BESIDE = 1 << 20
"""Added to the number of a block of elements, so that this noise is not the walk's."""


def displace_(p: Tensor, state: State, group: Group, first: int, *, back: bool = False) -> None:
    """Add to a parameter what its gradient point adds for the step in ``state``, or take it off.

    ``first`` is the number of its first element among those of all.
    """
    shown, anchor = local_real_view(p), local_real_view(state["anchor"])
    if "walker" in state:  # the parameter is a rounded copy of what it shows, made anew
        shown.copy_(local_real_view(state["walker"]))
        if back:
            return
    count: int = state["displaced"]
    key = step_key(group["seed"], group["worker"], count, 0, BESIDE + first // WORD)
    added = group["gradient_point"](anchor, key, element_index(p, first), count)
    if added is not None:
        shown.add_(added.to(shown.dtype), alpha=-1 if back else 1)
