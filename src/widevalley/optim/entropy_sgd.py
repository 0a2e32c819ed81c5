"""EntropySGD: Algorithm 1 of the paper, one Langevin step a call."""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch.optim.optimizer import ParamsT

from widevalley.optim._algorithm import move_anchors_
from widevalley.optim._anchored import scope
from widevalley.optim._base import own_arguments
from widevalley.optim._conventions import PAPER, Conventions
from widevalley.optim._tensors import local_real_view
from widevalley.optim._validation import Group, below_one, check
from widevalley.optim._walk import LangevinWalk
from widevalley.optim.gradient_point import GradientPoint
from widevalley.optim.readout import ReadOut
from widevalley.optim.scoping import Schedule
from widevalley.optim.workers import Workers

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh


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
        params: parameters or groups; all but langevin_steps, seed and worker may differ between
            groups.
        lr: outer rate eta >= 0, what schedulers change. 0 stops a group, walk and all.
        momentum: of the outer step, in [0, 1).
        nesterov: Nesterov's momentum in the outer step; counts only where momentum > 0.
        weight_decay: L2 coefficient >= 0; part of f, so it acts in the walk.
        langevin_steps: L >= 1, gradients an outer update.
        langevin_lr: the walk's rate eta' >= 0.
        langevin_momentum: of the walk, in [0, 1).
        gamma: gamma0 >= 0, the scope at the first walk. Read at every step: it may be set from
            outside, like lr. The pull langevin_lr gamma is capped at 1.
        gamma_growth: gamma1 > -1 of gamma0 (1 + gamma1)^t, or a schedule t -> gamma / gamma0 as
            in `widevalley.scoping`; t counts outer updates.
        noise: thermal noise eps >= 0, sqrt(2 T) at a temperature T, see `scoping.noise_at`. Without
            momentum the walk samples exp(-(2 / eps²)(f + gamma/2 |x - x'|²)).
        noise_law: "gaussian", or "two-point" for ±1, which has the same weak order and costs a
            fraction (Kloeden & Platen 1992, section 14.1).
        averaging: alpha in (0, 1], the weight of the new sample; 1 keeps no mean.
        readout: an average of anchors that survives the walks, for `at_average` and `eval`: the
            decay in [0, 1) of an exponential one, one of `widevalley.readout`, or None. It takes
            4 bytes a number, and a pass every langevin_steps-th step.
        gradient_point: where the gradient is taken beside the walker, one of
            `widevalley.gradient_point`, or None for the walker itself.
        conventions: what else can be chosen, see `Conventions`.
        seed, worker: integers >= 0 that key the noise, with the step and the parameter; the
            global generator is never touched. Replicas want different workers.
        process_group: a process group, a mesh of one dimension, or `widevalley.workers.Workers`,
            each rank of which walks alone, as the worker of its number; every langevin_steps-th
            step the pseudo-gradients x - mu are averaged over all. None: one worker.
        maximize: ascend f.
        fused: make each step one kernel, compiled at first use. None: wherever it can be compiled,
            on a GPU, and on a CPU where it pays: from 4,096 numbers with noise and 131,072 without.
            Both draw the same noise and agree to rounding.

    Raises:
        ValueError: a setting out of its range; the message names it and what is allowed. With a
            process group, workers whose parameters, settings, anchors or lack of gradients differ.
        RuntimeError: another worker of the process group does not answer.

    Source: Chaudhari et al., "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", ICLR
    2017, Algorithm 1 and sections 4.1 to 4.3.
    """

    _entries: ClassVar[tuple[str, ...]] = (*LangevinWalk._entries, "momentum_buffer")

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

    @classmethod
    def released(
        cls, params: ParamsT, lr: float = 1.0, *, averaging: float, noise: float, **settings: Any
    ) -> Self:
        """With the formulas of the code released with the paper.

        Its noise is sqrt(2 langevin_lr) noise N(0, I), its ``averaging`` in [0, 1) the weight of
        the OLD mean, mu <- averaging mu + (1 - averaging) x', its outer step without momentum.
        The groups hold the paper's numbers for the same: noise sqrt(2) and 1 - averaging.

        Raises:
            ValueError: a setting out of its range, or ``momentum``.
        """
        check("averaging", averaging, *below_one())
        if settings.get("momentum"):
            raise ValueError(f"momentum must be 0 as released, got {settings['momentum']!r}")
        paper = {"averaging": 1 - averaging, "noise": math.sqrt(2) * noise, **settings}
        return cls(params, lr, **paper)

    def _move_anchors(self, groups: list[Group]) -> None:
        for group in groups:
            states, x, mu = self._ended(group)
            lr, momentum = float(group["lr"]), float(group["momentum"])
            b = [local_real_view(state["momentum_buffer"]) for state in states if momentum]
            factor = scope(group) if group["scale_by_gamma"] else 1.0
            move_anchors_(x, mu, b, factor, lr, momentum, nesterov=group["nesterov"])

    def _slots(self, group: Group) -> tuple[str, ...]:
        return (*super()._slots(group), *(("momentum_buffer",) if group["momentum"] else ()))
