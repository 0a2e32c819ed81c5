"""How far walks go, and how one pseudo-gradient follows another: the numbers behind `metrics`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from widevalley.optim._base import State

Pairs = Iterable[tuple[Tensor, State]]
Point = Callable[[Tensor, State], Tensor]


def square_distance(pairs: Pairs, point: Point) -> float:
    """The squared distance from x of a point of each walk, of the walker or of mu say."""
    return float(sum(_product(far, far) for far in _from_anchors(pairs, point).values()))


class Succession:
    """The cosine of successive pseudo-gradients, and the gain of the anchor's step over the newest.

    It keeps one tensor for each parameter, the last pseudo-gradient; nothing waits for the device.
    """

    def __init__(self, mean: Point) -> None:
        self._mean = mean
        self._last: dict[Tensor, Tensor] = {}
        self._cosine: tuple[Tensor, ...] = ()
        self._gain: tuple[Tensor, ...] = ()

    def move(self, ended: list[tuple[Tensor, State]], anchors: Callable[[], None]) -> None:
        """Let the anchors of walks that have ended move, and take in what they moved by."""
        before = {p: state["anchor"].clone() for p, state in ended}
        newest = _from_anchors(ended, self._mean)
        anchors()
        steps = [state["anchor"] - before[p] for p, state in ended]
        self._gain = _sum(steps, steps), _sum(newest.values(), newest.values())
        both = [(d, self._last[p]) for p, d in newest.items() if p in self._last]
        if both:
            d, last = zip(*both, strict=True)
            self._cosine = _sum(d, last), _sum(d, d), _sum(last, last)
        self._last |= newest

    def numbers(self) -> dict[str, float]:
        """``gain`` and ``cosine``, as soon as there are any."""
        found = {}
        if self._gain:
            moved, square = map(float, self._gain)
            found["gain"] = math.sqrt(moved / square) if square else 0.0
        if self._cosine:
            product, *squares = map(float, self._cosine)
            found["cosine"] = product / math.sqrt(math.prod(squares)) if all(squares) else 0.0
        return found


def _from_anchors(pairs: Pairs, point: Point) -> dict[Tensor, Tensor]:
    """x minus the point, which for mu is the pseudo-gradient."""
    return {p: (state["anchor"] - point(p, state)).detach() for p, state in pairs}


def _sum(a: Iterable[Tensor], b: Iterable[Tensor]) -> Tensor:
    """The inner product of all of a with all of b, on the device of the first."""
    products = [_product(x, y) for x, y in zip(a, b, strict=True)]
    return torch.stack([one.to(products[0].device) for one in products]).sum()


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Of all numbers of a tensor, those of other processes, too, in float64."""
    product = (a * b.conj()).real.sum(dtype=torch.float64)
    whole: Tensor = product.full_tensor() if hasattr(product, "full_tensor") else product
    return whole
