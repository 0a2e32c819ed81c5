"""Replicas: every worker keeps an anchor of its own, and a coupling pulls them to their centre.

The formulas stand in `Coupling`. The centre is that of the anchors at the beginning of a walk: they
are averaged while it is walked.
"""

from abc import abstractmethod

import torch

from widevalley.optim._algorithm import Langevin
from widevalley.optim._tensors import shards, views
from widevalley.optim._validation import Group, check, positive
from widevalley.optim.workers._connected import Pairs, anchors
from widevalley.optim.workers._local_walks import LocalWalks


class Replicas(LocalWalks):
    """An anchored optimizer whose workers share an anchor, or keep one each with a coupling."""

    @abstractmethod
    def _settings(self, group: Group) -> Langevin:
        """The settings of a step of the group."""

    def _meet(self, moving: list[Group], step: int) -> None:
        coupling, workers = self._coupling, self.workers
        if coupling is None or workers is None:
            super()._meet(moving, step)
        elif step == moving[0]["langevin_steps"]:
            ended = [pair for group in moving for pair in self._walked(group)]
            agreed = self._agree(moving, ended)
            self._arrive(0)
            factor, pulls = coupling.factor(moving[0]["outer_step"]), []
            for group in moving:
                walked = self._walked(group)
                if walked:
                    pull = torch._foreach_sub(_centres(walked), anchors(walked))
                    torch._foreach_mul_(pull, min(float(group["coupling"]) * factor, 1.0))
                    pulls += list(pull)
            self._advance(moving)
            x = anchors(ended)
            if x:
                torch._foreach_add_(x, pulls)
            self._flights[0] = ended, agreed, workers.mean(x)
            self._restart_walks(moving)

    @torch.no_grad()
    def automatic_coupling(self, loss: float) -> float:
        """Set ``coupling`` in every group so that f and the pull weigh the same, and return it.

        It is langevin_lr langevin_steps loss / (mean of |x_i - c|² / 2), 1 at most: a walk's time
        times the stiffness at which loss and elastic energy are equal, both averaged over all
        workers. Every worker calls it, from the second walk on, with the loss on its training data.

        Raises:
            ValueError: there is no coupling, a parameter is sharded, the loss is not above 0, or
                the anchors are not apart.

        Source: Pittorino et al., "Entropic gradient descent algorithms and wide flat minima", ICLR
        2021, who let it grow 1e4 times over the run.
        """
        if self._coupling is None or self.workers is None:
            raise ValueError("process_group must be Workers with a coupling for automatic_coupling")
        check("loss", loss, *positive())
        distance = self._distance_from_centre()
        device = self.param_groups[0]["params"][0].device
        return self._couple(*self.workers.mean_numbers([float(loss), distance], device))

    def _distance_from_centre(self) -> float:
        """|x - c|²."""
        with self._holding(anchor=False):
            return self._far_from_centre()

    def _far_from_centre(self) -> float:
        self._arrive(0)
        pairs = [(p, s) for p, s in self.state.items() if s["initialized"] and p.requires_grad]
        for p, _ in pairs:
            if shards(p):
                raise ValueError("automatic_coupling needs whole parameters, got shards of them")
        apart = [
            torch.dist(x, c).double() ** 2
            for x, c in zip(anchors(pairs), _centres(pairs), strict=True)
        ]
        return float(torch.stack(apart).sum()) if apart else 0.0

    def _couple(self, loss: float, distance: float) -> float:
        """Set the coupling at which a loss and a mean of |x_i - c|² weigh the same."""
        check("the mean of |x_i - c|²", distance, *positive())
        for group in self.param_groups:
            time = self._settings(group).lr * group["langevin_steps"]
            group["coupling"] = min(time * loss / (distance / 2), 1.0)
        return float(self.param_groups[0]["coupling"])

    def _show(self, *, anchor: bool, average: bool = False) -> None:
        if average and self._coupling is not None:
            self._arrive(0)
        super()._show(anchor=anchor, average=average)


def _centres(pairs: Pairs) -> list[torch.Tensor]:
    return views(state["average"] for _, state in pairs)
