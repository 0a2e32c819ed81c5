"""SGLD: stochastic gradient Langevin dynamics, the sampler that the walk is built on."""

import math
from typing import ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import Langevin
from widevalley.optim._base import own_arguments
from widevalley.optim._checkpoint import State
from widevalley.optim._tensors import copy_, is_low_precision
from widevalley.optim._validation import Group
from widevalley.optim._walk import How, LangevinStep


class SGLD(LangevinStep):
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
        noise_law: "gaussian", or "two-point" for ±1, see `EntropySGD`.
        weight_decay: L2 coefficient >= 0, a Gaussian prior as part of f.
        seed, worker: integers >= 0 that key the noise, with the step and the parameter; the
            global generator is never touched. Chains want different workers.
        maximize: ascend f.
        fused: make each step one kernel; None: where that pays, see `EntropySGD`.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed.

    Source: Welling & Teh, ICML 2011; Chaudhari et al., ICLR 2017, Appendix C.
    """

    _clock: ClassVar = {"inner_step": 0, "outer_step": 0}
    _entries: ClassVar[tuple[str, ...]] = ("walker", "initialized")

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.1,
        *,
        noise: float = 1e-4,
        noise_law: str = "gaussian",
        weight_decay: float = 0.0,
        seed: int = 0,
        worker: int = 0,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, own_arguments(locals()))

    def _step(self, moving: list[Group]) -> None:
        self._walk(moving)
        self._set_clock(outer_step=self.param_groups[0]["outer_step"] + 1)

    def _settings(self, group: Group) -> Langevin:
        lr = float(group["lr"])
        return Langevin(
            lr=lr,
            gamma=0.0,
            noise_std=float(group["noise"]) * math.sqrt(lr),
            law=group["noise_law"],
            weight_decay=float(group["weight_decay"]),
            sign=-1.0 if group["maximize"] else 1.0,
        )

    def _walking(self, group: Group) -> list[tuple[Tensor, State]]:
        """The parameters that take this step, each with its state."""
        return [(p, self._state_of(p, group)) for p in group["params"] if p.grad is not None]

    def _how(self, group: Group) -> How:
        return How(group["fused"], True, ())

    def _state_of(self, p: Tensor, group: Group) -> State:
        """A float32 walker beside a parameter of low precision, else nothing."""
        if not is_low_precision(p):
            state: State = self.state.pop(p, {})
            if state.get("initialized"):  # converted since
                copy_([p], [state["walker"]])
            return {}
        state = self.state[p]
        if "walker" not in state or state["walker"].device != p.device:
            state.update(walker=p.detach().float(), initialized=False)
        if p.grad is not None and not state["initialized"]:
            copy_([state["walker"]], [p])  # whatever was loaded into it since construction
            state["initialized"] = True
        return state
