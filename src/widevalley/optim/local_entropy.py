"""LocalEntropy: any torch optimizer for the walk, any for the anchor."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from widevalley.optim._algorithm import (
    Langevin,
    Points,
    average_,
    move_anchors_,
    pseudo_gradient_,
)
from widevalley.optim._anchored import scope
from widevalley.optim._base import own_arguments, parameters_of
from widevalley.optim._checkpoint import State
from widevalley.optim._held import mean_of, means_of
from widevalley.optim._nested import NestedOptimizers, check_optimizers
from widevalley.optim._noise import WORD, noise, step_key
from widevalley.optim._preconditioned import (
    check_keeps_a_second_moment,
    metric,
    pull_and_noise_,
)
from widevalley.optim._tensors import copy_, element_index, local_real_view, views
from widevalley.optim._validation import Group
from widevalley.optim._walk import How, LangevinStep
from widevalley.optim.gradient_point import GradientPoint
from widevalley.optim.readout import ReadOut
from widevalley.optim.scoping import Schedule
from widevalley.optim.workers import Workers

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

OUTER = ("outer_lr", "outer_momentum", "outer_nesterov")
"""Settings that count where there is no outer optimizer."""


class LocalEntropy(LangevinStep, NestedOptimizers):
    r"""Descend the negative local entropy around an optimizer of your choice.

    ::

        optimizer = LocalEntropy(torch.optim.AdamW(model.parameters(), lr=1e-3))

    Every ``step()`` steps ``inner`` on the walker, with the gradient of f, then adds the pull and
    the noise outside of it, eta' being the lr of inner::

        x' <- inner(x', ∇f(x')) - eta' gamma (x' - x) + sqrt(eta') noise N(0, I)
        mu <- (1 - averaging) mu + averaging x'

    and every ``langevin_steps``-th also moves the anchor x by the pseudo-gradient d = x - mu, with
    momentum, or by ``outer``, another torch optimizer; then x', mu <- x::

        b <- outer_momentum b + d;   x <- x - outer_lr (d + outer_momentum b)

    The parameter groups are those of ``inner``, the very same dictionaries, with the settings below
    added: a scheduler on this optimizer moves inner's lr. With ``outer`` they are outer's, and a
    scheduler moves outer's lr; one on ``inner`` moves eta'. With SGD inside and outside it equals
    `EntropySGD`. With gamma = noise = 0 nothing is copied in a step, with averaging = 1 no mean is
    kept: a step then costs what inner's costs. The arithmetic is in the dtype of the parameters,
    or what inner makes of it: keep those float32.

    Args:
        inner: an optimizer; do not step it yourself. A group of it may name settings of ours, to
            differ from the other groups in them.
        outer: None, or another one over the same parameters.
        outer_lr, outer_momentum, outer_nesterov: of the anchor's step where there is no ``outer``.
        langevin_steps, gamma, gamma_growth, noise, noise_law, averaging, readout, gradient_point,
        seed, worker, process_group: as for `EntropySGD`. With gamma = noise = 0, averaging 1 and
            Nesterov's momentum for the anchor that is DiLoCo (Douillard et al., arXiv 2311.08105).
        scale_by_gamma: multiply the pseudo-gradient by gamma.
        noise_free_mean: as in `Conventions`.
        preconditioned: take pull and noise in inner's metric G = 1 / (sqrt(v) + eps), v its second
            moment: eta' becomes eta' G. Without momentum in inner and with slow v the walk then
            samples exp(-(2 / noise²)(f + gamma/2 |x' - x|²)), as SGD's does (Li et al., AAAI 2016,
            pSGLD). It goes line by line.
        reset_inner: start every walk with a fresh state of inner's; given at construction.

    Raises:
        ValueError: a setting out of its range, an optimizer that cannot step without a closure, or
            inner and outer with different parameters, an inner optimizer with settings of these
            names.

    Source: Chaudhari et al., ICLR 2017, Algorithm 1 ("Nesterov's momentum or Adam may wrap either
    loop", section 4.2).
    """

    _widens = False
    _entries: ClassVar[tuple[str, ...]] = (*NestedOptimizers._entries, "momentum_buffer")

    def __init__(
        self,
        inner: Optimizer,
        outer: Optimizer | None = None,
        *,
        outer_lr: float = 1.0,
        outer_momentum: float = 0.0,
        outer_nesterov: bool = True,
        langevin_steps: int = 20,
        gamma: float = 0.0,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 0.0,
        noise_law: str = "gaussian",
        averaging: float = 0.75,
        readout: float | ReadOut | None = None,
        gradient_point: GradientPoint | None = None,
        scale_by_gamma: bool = False,
        noise_free_mean: bool = False,
        preconditioned: bool = False,
        reset_inner: bool = False,
        seed: int = 0,
        worker: int = 0,
        process_group: "ProcessGroup | DeviceMesh | Workers | None" = None,
    ) -> None:
        own = own_arguments(locals())
        for name in ("inner", "outer", *(() if outer is None else OUTER)):
            del own[name]
        check_optimizers(inner, outer, own)
        if preconditioned:
            check_keeps_a_second_moment(inner)
        super().__init__(inner, outer, own)

    def _walk(self, groups: list[Group]) -> None:
        """Inner's step on f, then a Langevin step on gamma/2 |x' - x|², which has the noise."""
        # First of all, for a schedule that is refused moves nothing.
        gammas = list(map(self._gamma, groups))
        walking = [(group, self._walking(group)) for group in groups]
        pulls: dict[Tensor, Tensor] = {}
        for (group, pairs), gamma in zip(walking, gammas, strict=True):
            if group["preconditioned"] or not pairs:
                continue
            # Of the point where inner takes its gradient; also for what is left of earlier noise.
            if gamma or group["noise"] or group["noise_free_mean"]:
                params = [p for p, _ in pairs]
                pull = torch._foreach_sub(params, [state["anchor"] for _, state in pairs])
                torch._foreach_mul_(pull, gamma)
                pulls |= zip(params, pull, strict=True)
        with _gradients(parameters_of(self), {p: p.grad for _, pairs in walking for p, _ in pairs}):
            self.inner.step()
        langevin = [group for group, pairs in walking if pairs and pairs[0][0] in pulls]
        with _gradients(parameters_of(self), pulls):
            super()._walk(langevin)
        for group, pairs in walking:
            if group["preconditioned"]:
                self._walk_in_inners_metric(group, pairs)
            elif pairs and pairs[0][0] not in pulls and "mean" in pairs[0][1]:
                means = views(state["mean"] for _, state in pairs)
                torch._foreach_lerp_(means, views(p for p, _ in pairs), float(group["averaging"]))

    def _walk_in_inners_metric(self, group: Group, pairs: list[tuple[Tensor, State]]) -> None:
        """Pull, noise and mean, where they are preconditioned."""
        inner, gamma, eps = self._inner_group(group), scope(group), float(group["noise"])
        clock = group["seed"], group["worker"], group["outer_step"], group["inner_step"]
        averaging = float(group["averaging"])
        for p, state in pairs:
            first = self._first_elements()[p]
            walker, anchor = local_real_view(p), local_real_view(state["anchor"])
            mean, thermal = (
                local_real_view(state[name]) if name in state else None
                for name in ("mean", "thermal")
            )
            index, key = element_index(p, first), step_key(*clock, first // WORD)
            z = noise(walker, key, index, group["noise_law"]) if eps else None
            g = metric(self.inner.state[p], inner).mul_(float(inner["lr"]))
            pull, made = pull_and_noise_(walker, anchor, g, z, gamma, eps)
            w = Points(walker, walker, anchor, mean, None, index, thermal=thermal)
            average_(w, Langevin(0.0, gamma, 1.0, averaging=averaging, pull=pull), made)

    def _settings(self, group: Group) -> Langevin:
        eta = float(self._inner_group(group)["lr"])
        return Langevin(
            lr=eta,
            gamma=0.0,  # the pull comes as the gradient
            pull=eta * self._gamma(group),
            noise_std=float(group["noise"]) * math.sqrt(eta),
            law=group["noise_law"],
            averaging=float(group["averaging"]),
        )

    def _gamma(self, group: Group) -> float:
        """The scope, or 1 / eta' where that is less: more would overshoot the anchor."""
        eta = float(self._inner_group(group)["lr"])
        return min(scope(group), 1 / eta) if eta else 0.0

    def _inner_group(self, group: Group) -> Group:
        """The group of inner's that has the same parameters."""
        return self.inner.param_groups[[g is group for g in self.param_groups].index(True)]

    def _how(self, group: Group) -> How:
        means = means_of(group)
        return How(False if "thermal" in means else None, True, means)

    def _has_momentum(self, group: Group) -> bool:
        return bool(self._inner_group(group).get("momentum", 1))  # Adam and its kin name none

    def _move_anchors(self, groups: list[Group]) -> None:
        walked = [(group, self._walked(group)) for group in groups]
        for group, pairs in walked:
            x = views(state["anchor"] for _, state in pairs)
            mu = views(mean_of(p, state) for p, state in pairs)
            factor = scope(group) if group["scale_by_gamma"] else 1.0
            if self.outer is None:
                b = [state["momentum_buffer"] for _, state in pairs if group["outer_momentum"]]
                lr, m = float(group["outer_lr"]), float(group["outer_momentum"])
                move_anchors_(x, mu, views(b), factor, lr, m, nesterov=group["outer_nesterov"])
            elif pairs:
                pseudo_gradient_(x, mu, factor)
        if self.outer is not None:
            self._step_outer([pair for _, pairs in walked for pair in pairs])

    def _step_outer(self, walked: list[tuple[Tensor, State]]) -> None:
        """Show outer the anchors as parameters, and x - mu, which the means hold, as gradients."""
        assert self.outer is not None
        d = {p: mean_of(p, state).clone() for p, state in walked}
        params, anchors = [p for p, _ in walked], [state["anchor"] for _, state in walked]
        copy_(params, anchors)
        with _gradients(parameters_of(self), d):
            self.outer.step()
        copy_(anchors, params)

    def _restart_walks(self, groups: list[Group]) -> None:
        resetting = [group for group in groups if group["reset_inner"]]
        walked = [pair for group in resetting for pair in self._walked(group)]
        super()._restart_walks(groups)
        for p, state in walked:  # without a state of its own it is a new parameter to inner
            self._renew_inner(p, state)
        for group in resetting:
            self._inner_group(group).update(self._counts)

    def _slots(self, group: Group) -> tuple[str, ...]:
        buffer = ("momentum_buffer",) if group.get("outer_momentum") else ()
        return (*super()._slots(group), *buffer)

    def momentum_of(self, p: Tensor) -> Tensor | None:
        """Inner's momentum of a parameter; None where there is none."""
        kept = self.inner.state.get(p, {})
        momentum = kept.get("momentum_buffer", kept.get("exp_avg"))
        return momentum if isinstance(momentum, Tensor) else None

    def train(self, mode: bool = True) -> None:
        """Make the parameters hold the walker; an inner optimizer with modes trains, too."""
        super().train(mode)
        if mode and hasattr(self.inner, "train"):
            self.inner.train()


@contextmanager
def _gradients(params: Iterable[Tensor], shown: Mapping[Tensor, Tensor | None]) -> Iterator[None]:
    """Let an optimizer see these gradients and no others; afterwards p.grad is what it was."""
    kept = [(p, p.grad) for p in params if p.grad is not shown.get(p)]
    try:
        for p, _ in kept:
            p.grad = shown.get(p)
        yield
    finally:
        for p, gradient in kept:
            p.grad = gradient
