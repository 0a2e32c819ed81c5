"""EntropyAdam: Algorithm 1 with Adam in the outer loop, and in the walk where asked."""

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import MOMENTS, adam_step_, pseudo_gradient_
from widevalley.optim._anchored import scope
from widevalley.optim._base import own_arguments
from widevalley.optim._checkpoint import State
from widevalley.optim._conventions import PAPER, Conventions
from widevalley.optim._tensors import local_real_view
from widevalley.optim._validation import Group
from widevalley.optim._walk import LangevinWalk
from widevalley.optim.gradient_point import GradientPoint
from widevalley.optim.readout import ReadOut
from widevalley.optim.scoping import Schedule
from widevalley.optim.workers import Workers

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh


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
        weight_decay, langevin_steps, langevin_lr, langevin_momentum, gamma, gamma_growth, noise,
        noise_law, averaging, readout, gradient_point, conventions, seed, worker, process_group,
        maximize, fused: as for `EntropySGD`.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed.

    Source: Chaudhari et al., ICLR 2017, Algorithm 1 and section 5.3; Kingma & Ba, ICLR 2015.
    """

    _moments: ClassVar = tuple(f"{loop}{name}" for loop in ("", "langevin_") for name in MOMENTS)
    _entries: ClassVar[tuple[str, ...]] = (
        *LangevinWalk._entries,
        *_moments,
        "updates",
        "langevin_updates",
    )

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
        langevin_betas: tuple[float, float] | None = None,
        gamma: float = 1e-4,
        gamma_growth: float | Schedule = 1e-3,
        noise: float = 1e-4,
        noise_law: str = "gaussian",
        averaging: float = 0.75,
        readout: float | ReadOut | None = None,
        gradient_point: GradientPoint | None = None,
        conventions: Conventions = PAPER,
        seed: int = 0,
        worker: int = 0,
        process_group: "ProcessGroup | DeviceMesh | Workers | None" = None,
        maximize: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, own_arguments(locals()))

    def _move_anchors(self, groups: list[Group]) -> None:
        for group in groups:
            states, x, mu = self._ended(group)
            if not states:
                continue
            for state in states:
                state["updates"] += 1
            d = pseudo_gradient_(x, mu, scope(group) if group["scale_by_gamma"] else 1.0)
            m, v = ([local_real_view(state[name]) for state in states] for name in MOMENTS)
            updates = [state["updates"] for state in states]
            lr = float(group["lr"])
            adam_step_(x, d, m, v, updates, lr=lr, betas=group["betas"], eps=group["eps"])

    def _slots(self, group: Group) -> tuple[str, ...]:
        walk = MOMENTS if group["langevin_betas"] else ()
        return (*super()._slots(group), *(f"langevin_{name}" for name in walk), *MOMENTS)

    def _state_of(self, p: Tensor, group: Group) -> State:
        state = super()._state_of(p, group)
        state.setdefault("updates", 0)
        state.setdefault("langevin_updates", 0)
        return state
