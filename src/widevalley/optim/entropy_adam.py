"""EntropyAdam: Algorithm 1 with Adam in the outer loop, and in the walk where asked."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import Walk, adam_step_, pull_
from widevalley.optim._checked import Group, State, own_arguments
from widevalley.optim._implementation import Implementation
from widevalley.optim._langevin_walk import LangevinWalk, pseudo_gradient
from widevalley.optim._storage import Kept
from widevalley.optim.scoping import Schedule


class EntropyAdam(LangevinWalk):
    r"""Entropy-Adam: the walk of `EntropySGD`, and Adam on the pseudo-gradient x - mu.

    Every ``langevin_steps``-th step::

        d <- x - mu                              (times gamma with scale_by_gamma)
        m <- beta1 m + (1 - beta1) d;  v <- beta2 v + (1 - beta2) d²
        x <- x - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps);   x', mu <- x

    k counting the parameter's outer updates. With ``langevin_betas`` the gradient of f, weight
    decay included, goes through an Adam of its own in the walk, in place of momentum; pull and
    noise act outside it, and its moments live on from walk to walk.

    Args:
        params: parameters or groups, as for `EntropySGD`.
        lr: outer rate >= 0, what schedulers change. 0 stops a group, walk and all.
        betas: decay of the outer moments, each in [0, 1).
        eps: added to the root of the second moment, >= 0, in both loops.
        langevin_betas: decay of the walk's moments, each in [0, 1), or None for momentum.
        weight_decay, langevin_steps, langevin_lr, langevin_momentum, langevin_nesterov,
        momentum_on_all, reset_momentum, gamma, gamma_growth, noise, averaging, scale_by_gamma,
        seed, worker, maximize, foreach, fused, state_dtype, offload_anchor: as for `EntropySGD`,
            in the paper's convention.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed.

    Source: Chaudhari et al., ICLR 2017, Algorithm 1 and section 5.3; Kingma & Ba, ICLR 2015.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        langevin_steps: int = 20,
        langevin_lr: float = 0.1,
        langevin_momentum: float = 0.9,
        langevin_nesterov: bool = True,
        langevin_betas: tuple[float, float] | None = None,
        momentum_on_all: bool = False,
        reset_momentum: bool = True,
        gamma: float = 1e-4,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 1e-4,
        averaging: float = 0.75,
        scale_by_gamma: bool = False,
        seed: int = 0,
        worker: int = 0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        state_dtype: torch.dtype | None = None,
        offload_anchor: bool = False,
    ) -> None:
        super().__init__(params, own_arguments(locals()))

    def _walk(self, groups: list[Group]) -> None:
        for group in groups:
            for _, state in self._walkers(group) if group["langevin_betas"] else ():
                state["langevin_updates"] = state.get("langevin_updates", 0) + 1
        super()._walk(groups)

    def _descend(
        self, held: Kept, noise: Tensor | None, walk: Walk, group: Group, state: State
    ) -> None:
        if group["langevin_betas"] is None:
            super()._descend(held, noise, walk, group, state)
            return
        walker = held["walker"]
        gradient = held["gradient"].to(walker.dtype).mul(walk.sign)
        if walk.weight_decay:
            gradient.add_(walker, alpha=walk.weight_decay)
        pull_(walker, held["anchor"], walk, pull=True, decay=False)
        adam_step_(
            walker,
            gradient,
            held["langevin_exp_avg"],
            held["langevin_exp_avg_sq"],
            state["langevin_updates"],
            lr=walk.lr,
            betas=group["langevin_betas"],
            eps=group["eps"],
        )
        if noise is not None:
            walker.add_(noise, alpha=walk.thermal)

    def _move_anchors(self, groups: list[Group]) -> None:
        for group in groups:
            for _, state in self._walked(group):
                state["updates"] = state.get("updates", 0) + 1
            for held, state in self._anchors(group):
                adam_step_(
                    held["anchor"],
                    pseudo_gradient(held, group),
                    held["exp_avg"],
                    held["exp_avg_sq"],
                    state["updates"],
                    lr=float(group["lr"]),
                    betas=group["betas"],
                    eps=group["eps"],
                )

    def _implementation(self, group: Group) -> Implementation:
        """Adam's walk counts the steps of each parameter, and so goes by the loop."""
        return "loop" if group["langevin_betas"] else super()._implementation(group)

    def _walk_buffers(self, group: Group) -> tuple[str, ...]:
        if group["langevin_betas"] is None:
            return super()._walk_buffers(group)
        return ("langevin_exp_avg", "langevin_exp_avg_sq")

    def _buffers(self, group: Group) -> tuple[str, ...]:
        return (*super()._buffers(group), "exp_avg", "exp_avg_sq")
