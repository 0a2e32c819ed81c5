"""EntropySGD: Algorithm 1 of the paper, one Langevin step a call."""

from typing import Literal

import torch
from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import sgd_step_
from widevalley.optim._anchored import scope
from widevalley.optim._checked import Group, own_arguments
from widevalley.optim._langevin_walk import LangevinWalk, pseudo_gradient
from widevalley.optim._tensors import numbers
from widevalley.optim.scoping import Schedule


class EntropySGD(LangevinWalk):
    r"""Entropy-SGD: descend -F, the negative local entropy, instead of the loss f.

    .. math::
        F(x, \gamma) = \log \int \exp(-f(x') - \tfrac{\gamma}{2} \|x - x'\|^2) \, dx', \qquad
        -\nabla F(x, \gamma) = \gamma (x - \langle x' \rangle)

    One ``step()`` spends one gradient on one Langevin step of the walker x', which is what the
    parameters hold while training (lines 4 to 6 of Algorithm 1)::

        x' <- x' - langevin_lr (∇f(x') + gamma (x' - x)) + sqrt(langevin_lr) noise N(0, I)
        mu <- (1 - averaging) mu + averaging x'

    and every ``langevin_steps``-th step also moves the anchor x and starts the next walk there
    (lines 7 and 1)::

        x <- x - lr (x - mu);   x', mu <- x;   gamma <- gamma0 (1 + gamma_growth)^t

    Algorithm 1 to the letter is ``langevin_momentum=0, momentum=0, weight_decay=0``.

    Args:
        params: parameters or groups; lr, langevin_lr, gamma, noise, weight_decay, the momenta and
            averaging may differ between groups, langevin_steps, seed and worker may not.
        lr: outer rate eta >= 0, what schedulers change. 0 stops a group, walk and all.
        momentum: of the outer step, in [0, 1).
        nesterov: Nesterov's momentum in the outer step; counts only where momentum > 0.
        weight_decay: L2 coefficient >= 0; part of f, so it acts in the walk.
        langevin_steps: L >= 1, gradients an outer update.
        langevin_lr: the walk's rate eta' >= 0.
        langevin_momentum: of the walk, in [0, 1).
        langevin_nesterov: Nesterov's momentum in the walk; counts only where
            langevin_momentum > 0.
        momentum_on_all: put the pull and the noise through the walk's momentum too, not the
            gradient of f alone.
        reset_momentum: start every walk with the walk's momentum at 0.
        gamma: gamma0 >= 0, the scope at the first walk. Read at every step: it may be set from
            outside, like lr. The pull langevin_lr gamma is capped at 1.
        gamma_growth: gamma1 > -1 of gamma0 (1 + gamma1)^t, or a schedule t -> gamma / gamma0 as
            in `widevalley.scoping`; t counts outer updates.
        noise: thermal noise eps >= 0. The walk samples exp(-(2 / eps²)(f + gamma/2 |x - x'|²)).
        averaging: alpha in (0, 1], the weight of the new sample.
        scale_by_gamma: keep the factor gamma of line 7: x <- x - lr gamma (x - mu).
        convention: "paper", or "released" for the formulas of the code released with it: noise
            sqrt(2 langevin_lr) noise N(0, I), and ``averaging`` in [0, 1) the weight of the OLD
            mean, mu <- averaging mu + (1 - averaging) x'; its outer step has no momentum.
        seed, worker: integers >= 0 that key the noise, with the step and the parameter; the
            global generator is never touched. Replicas want different workers.
        maximize: ascend f.
        foreach: step small parameters together, in packs.
        fused: make each step one kernel, compiled at first use (some ten seconds on a CPU, and
            from torch's cache after that). Where both are None: fused on a GPU and for a million
            numbers or more on a CPU, wherever it can be compiled; else foreach. False for both is
            a loop over parameters. All three draw the same noise and agree to rounding.
        state_dtype: torch.bfloat16 keeps the mean (as mu - x) and the momenta in 2 bytes a number
            instead of 4, rounded at random so that nothing is lost on average.
        offload_anchor: keep the anchors of parameters of 2^15 numbers or more in pinned host
            memory, 4 bytes a number less on a GPU; every step reads them from there.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed.

    Source: Chaudhari et al., "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", ICLR
    2017, Algorithm 1 and sections 4.1 to 4.3.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        *,
        momentum: float = 0.0,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        langevin_steps: int = 20,
        langevin_lr: float = 0.1,
        langevin_momentum: float = 0.9,
        langevin_nesterov: bool = True,
        momentum_on_all: bool = False,
        reset_momentum: bool = True,
        gamma: float = 1e-4,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 1e-4,
        averaging: float = 0.75,
        scale_by_gamma: bool = False,
        convention: Literal["paper", "released"] = "paper",
        seed: int = 0,
        worker: int = 0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        state_dtype: torch.dtype | None = None,
        offload_anchor: bool = False,
    ) -> None:
        super().__init__(params, own_arguments(locals()))

    def _move_anchors(self, groups: list[Group]) -> None:
        for group in groups:
            lr, momentum = float(group["lr"]), float(group["momentum"])
            factor = scope(group) if group["scale_by_gamma"] else 1.0
            if momentum:
                for held, _ in self._anchors(group):
                    sgd_step_(
                        held["anchor"],
                        pseudo_gradient(held, group),
                        held["momentum_buffer"],
                        lr=lr,
                        momentum=momentum,
                        nesterov=group["nesterov"],
                    )
            elif group["state_dtype"] or group["offload_anchor"]:
                for held, _ in self._anchors(group):
                    held["anchor"].lerp_(held["mean"], lr * factor)
            else:  # line 7, x - lr (x - mu), for all at once
                states = [state for _, state in self._walked(group)]
                x, mu = ([numbers(state[name]) for state in states] for name in ("anchor", "mean"))
                if states:
                    torch._foreach_lerp_(x, mu, lr * factor)

    def _buffers(self, group: Group) -> tuple[str, ...]:
        own = ("momentum_buffer",) if group["momentum"] else ()
        return super()._buffers(group) + own
