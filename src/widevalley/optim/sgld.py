"""SGLD: stochastic gradient Langevin dynamics, the sampler that the walk is built on."""

import math
from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import Walk, langevin_step_
from widevalley.optim._checked import CheckedOptimizer, Group, State, own_arguments
from widevalley.optim._noise import gaussian, step_key
from widevalley.optim._tensors import is_narrow, numbers


class SGLD(CheckedOptimizer):
    r"""Stochastic gradient Langevin dynamics: SGD with Gaussian noise.

    ::

        x <- x - lr (∇f(x) + weight_decay x) + sqrt(lr) noise N(0, I)

    For small lr it samples exp(-(2 / noise²) f(x)): inverse temperature beta is
    ``noise = sqrt(2 / beta)``, so with f the mean loss over N samples the posterior itself is
    ``noise = sqrt(2 / N)``. Welling & Teh's step eta_t is 2 lr / N in their sum over samples.
    The paper's baseline anneals lr as eta / (1 + t)^b: use torch's LambdaLR.

    Args:
        params: parameters or groups, each with its own lr, noise and weight_decay.
        lr: rate >= 0; 0 moves nothing.
        noise: eps >= 0.
        weight_decay: L2 coefficient >= 0, a Gaussian prior as part of f.
        seed, worker: integers >= 0 that key the noise, with the step and the parameter; the
            global generator is never touched. Chains want different workers.
        maximize: ascend f.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed.

    Source: Welling & Teh, ICML 2011; Chaudhari et al., ICLR 2017, Appendix C.
    """

    _clock: ClassVar = {"steps": 0}

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.1,
        *,
        noise: float = 1e-4,
        weight_decay: float = 0.0,
        seed: int = 0,
        worker: int = 0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, own_arguments(locals()))

    def _step(self, moving: list[Group]) -> None:
        for group in moving:
            self._move(group)
        self._set_clock(steps=self.param_groups[0]["steps"] + 1)

    def _move(self, group: Group) -> None:
        lr = float(group["lr"])
        walk = Walk(
            lr=lr,
            gamma=0.0,
            thermal=float(group["noise"]) * math.sqrt(lr),
            averaging=1.0,
            weight_decay=float(group["weight_decay"]),
            sign=-1.0 if group["maximize"] else 1.0,
        )
        places = self._places()
        for p in group["params"]:
            if p.grad is None:
                continue
            place = places[p]
            x, noise = place.lay(self._master(p)), None
            if walk.thermal:
                key = step_key(group["seed"], group["worker"], group["steps"], 0, place.start)
                noise = gaussian(x, key, place.index)
            langevin_step_(x, x, place.lay(numbers(p.grad)), noise, None, walk)
            if is_narrow(p):
                place.lay(numbers(p)).copy_(x)

    def _master(self, p: Tensor) -> Tensor:
        """What the steps add up in: the parameter itself, or its float32 copy."""
        if not is_narrow(p):
            return numbers(p)
        state: State = self.state[p]
        master = numbers(state["walker"])
        if not state["joined"]:
            master.copy_(numbers(p))
            state["joined"] = True
        return master

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as torch does."""
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if is_narrow(p):
                self.state[p].update(walker=p.detach().float(), joined=False)
