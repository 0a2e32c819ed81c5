"""How far walks go, and how one pseudo-gradient follows another: the numbers behind `metrics`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from widevalley.optim._checkpoint import State
from widevalley.optim._displacement import Displacement
from widevalley.optim._held import Shown, mean_of, walker_of
from widevalley.optim._validation import Group, check, positive
from widevalley.optim.workers._communication import Channel

Pairs = Iterable[tuple[Tensor, State]]
Point = Callable[[Tensor, State], Tensor]


class Measured(Shown):
    """An optimizer that tells what its walks are at."""

    workers: Channel | None = None
    """The connection to the other workers, where there is a process group."""
    _succession: Succession | None = None  # once metrics have been asked for

    @abstractmethod
    def scope(self, group: int = 0) -> float:
        """gamma(t) of the walk in progress, for the group of this number."""

    @abstractmethod
    def _walked(self, group: Group) -> list[tuple[Tensor, State]]:
        """The parameters of the group that took a step in the walk in progress."""

    @abstractmethod
    def _displaced(self) -> Displacement:
        """What is added to the walkers for a gradient."""

    @torch.no_grad()
    def automatic_scope(self, loss: float) -> float:
        """Set gamma in every group to loss / (|x' - x|² / 2), as the walk in progress stands.

        So f and gamma/2 |x' - x|² weigh the same, both averaged over the workers where there are
        several: then each of them calls it. Call it once, before the step that ends the
        first walk, gamma being 0 until then, and let `scoping.TotalGrowth` grow it, in the source
        1e4 times over the run. gamma is a setting, so a checkpoint has it.

        Raises:
            ValueError: a loss that is not above 0, or a walk that has not begun.

        Source: Pittorino et al., "Entropic gradient descent algorithms and wide flat minima", ICLR
        2021.
        """
        check("loss", loss, *positive())
        square = self._walked_square()
        if self.workers is not None:
            device = self.param_groups[0]["params"][0].device
            loss, square = self.workers.mean_numbers([float(loss), square], device)
        return self._set_scope(float(loss), square)

    def _walked_square(self) -> float:
        """|x' - x|² of the walk in progress."""
        square = 0.0 if self.param_groups[0]["at_anchor"] else self._square(walker_of)
        if not square:
            raise ValueError("automatic_scope must be called amid a walk, when x' is not at x")
        check("|x' - x|²", square, *positive())
        return square

    def _set_scope(self, loss: float, square: float) -> float:
        gamma = 2 * loss / square
        for group in self.param_groups:
            group["gamma"] = gamma
        return gamma

    @torch.no_grad()
    def metrics(self) -> dict[str, float]:
        """What the walk is at, for TensorBoard, W&B or trackio; it passes over the parameters.

        ``scope`` gamma and ``temperature`` noise²/2 of the first group; ``distance`` ‖x' - x‖ of
        the walker from its anchor and ``pseudo_gradient`` ‖x - mu‖, over all parameters that have
        taken a step in this walk, 0 where none has, as after every langevin_steps-th step;
        ``outer_step``, the count of walks.

        From the first call on, which a checkpoint does not remember, one more tensor is kept for
        each parameter, and of the walks that ended last there are ``gain``, how far the anchor
        moved in pseudo-gradients, and ``cosine`` of the pseudo-gradient and the one before: near 1
        the anchor may go further (a higher outer rate or momentum), below 0 it goes too far.
        """
        if self._succession is None:
            self._succession = Succession()
        first = self.param_groups[0]
        with self._holding(anchor=False):
            found = {
                "scope": self.scope(),
                "temperature": float(first["noise"]) ** 2 / 2,
                "distance": math.sqrt(self._square(walker_of)),
                "pseudo_gradient": math.sqrt(self._square(mean_of)),
                "outer_step": float(first["outer_step"]),
            }
        return found | self._succession.numbers()

    def _square(self, point: Point) -> float:
        """The squared distance of a point of the walks from x."""
        with self._displaced().taken_off(self.param_groups):
            walked = [pair for group in self.param_groups for pair in self._walked(group)]
            return self._square_of(walked, point)

    def _square_of(self, walked: Pairs, point: Point) -> float:
        return float(sum(_product(far, far) for far in _from_anchors(walked, point).values()))


class Succession:
    """The cosine of successive pseudo-gradients, and the gain of the anchor's step over the newest.

    It keeps one tensor for each parameter, the last pseudo-gradient; nothing waits for the device.
    """

    def __init__(self) -> None:
        self._last: dict[Tensor, Tensor] = {}
        self._cosine: tuple[Tensor, ...] = ()
        self._gain: tuple[Tensor, ...] = ()

    def move(self, ended: list[tuple[Tensor, State]], anchors: Callable[[], None]) -> None:
        """Let the anchors of walks that have ended move, and take in what they moved by."""
        if not ended:
            anchors()
            return
        before = {p: state["anchor"].clone() for p, state in ended}
        newest = _from_anchors(ended, mean_of)
        anchors()
        steps = [state["anchor"] - before[p] for p, state in ended]
        self._gain = _sum(steps, steps), _sum(newest.values(), newest.values())
        # Of a model that has been moved since, the last ones are where it was.
        both = [(d, self._last[p].to(d)) for p, d in newest.items() if p in self._last]
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
