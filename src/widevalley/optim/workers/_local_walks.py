"""Local walks: every worker walks alone, then the means of their walks are averaged.

At the end of a walk worker i has the pseudo-gradient s_i = x - mu_i. All of them move the anchor,
which is the same everywhere, by the mean of these:

    mu <- x - (s_1 + … + s_n) / n, then lines 7 and 1 of Algorithm 1

With a delay of k steps s_i travels while the next walk has begun, where the worker alone would be;
k steps later the anchor moves, and what was walked meanwhile is added to it:

    at the end of a walk:   a <- x - s_i;   x', mu <- a
    k steps later:          line 7 with mu = x - (s_1 + … + s_n) / n;   x', mu <- x + (x', mu - a)

So the anchor is the same everywhere at any time, as old as k steps, and the first k gradients of a
walk are off by what sets one worker's mean apart from that of all.
"""

import torch
from torch import Tensor

from widevalley.optim._base import parameters_of
from widevalley.optim._held import mean_of, walker_of
from widevalley.optim._tensors import copy_, views
from widevalley.optim._validation import Group
from widevalley.optim.workers._connected import ConnectedOptimizer, anchors


class LocalWalks(ConnectedOptimizer):
    """An anchored optimizer whose workers share one anchor."""

    def _meet(self, moving: list[Group], step: int) -> None:
        """After a step of this number, from 1: send what has been walked, take what has arrived."""
        assert self.workers is not None
        settings, steps = self.workers.settings, moving[0]["langevin_steps"]
        for fragment in range(settings.fragments):
            end = -(-(fragment + 1) * steps // settings.fragments)
            late = (step - end - settings.delay) % steps == 0
            if settings.delay and (late or step == end):
                self._land(fragment, moving)
            if step == end:
                self._send(fragment, moving)

    def _send(self, fragment: int, moving: list[Group]) -> None:
        """Average the walks of a fragment's parameters, which end now, or begin to."""
        assert self.workers is not None
        self._ending = self._members(fragment)
        try:
            ended = [pair for group in moving for pair in self._walked(group)]
            agreed = self._agree(moving, ended)
            x, mu = anchors(ended), views(mean_of(p, state) for p, state in ended)
            s = list(torch._foreach_sub(x, mu)) if x else []
            unsent = views(state["unsent"] for _, state in ended if "unsent" in state)
            arrived = self.workers.mean(s, unsent)
            if not self.workers.settings.delay:
                agreed()
                _set(mu, x, arrived())
                self._end_walks(moving)
                return
            self._arrive(fragment)  # of who could not land, for its lr is 0
            self._flights[fragment] = ended, agreed, arrived
            copy_(views(state["sent"] for _, state in ended), s)
            for _, state in ended:
                state["on_way"] = moving[0]["outer_step"]
            before = [t.clone() for t in x]
            _set(x, x, s)
            self._restart_walks(moving)
            copy_(x, before)
        finally:
            self._ending = None

    def _land(self, fragment: int, moving: list[Group]) -> None:
        """Move a fragment's anchors by the means that have travelled, and the walks with them."""
        members = self._members(fragment)
        params = [p for group in moving for p in group["params"] if p in members]
        landing = [(p, self.state[p]) for p in params if self._on_way(p) and p.requires_grad]
        if not landing:
            return
        self._arrive(fragment)
        x, alone = anchors(landing), views(state["sent"] for _, state in landing)
        walkers = [walker_of(p, state) for p, state in landing]
        means = [(i, state["mean"]) for i, (_, state) in enumerate(landing) if "mean" in state]
        moved = views([*walkers, *(mean for _, mean in means)])
        owners = [*range(len(landing)), *(i for i, _ in means)]
        alone = list(torch._foreach_sub(x, alone))
        walked = torch._foreach_sub(moved, [alone[i] for i in owners])
        received = views(state["received"] for _, state in landing)
        _set(views(mean_of(p, state) for p, state in landing), x, received)
        now, active = moving[0]["outer_step"], [state["active"] for _, state in landing]
        for _, state in landing:
            state["active"] = True
        self._ending = {p for p, _ in landing}
        self._set_clock(outer_step=landing[0][1]["on_way"])  # of the walk that the means are of
        try:
            self._advance(moving)
        finally:
            self._ending = None
            self._set_clock(outer_step=now)
        copy_(moved, [x[i] for i in owners])
        torch._foreach_add_(moved, walked)
        copy_([p for p, _ in landing], walkers)
        for (_, state), was in zip(landing, active, strict=True):
            state.update(active=was, on_way=-1)

    def _on_way(self, p: Tensor) -> bool:
        return bool(self.state.get(p, {}).get("on_way", -1) >= 0)

    def _members(self, fragment: int) -> set[Tensor]:
        """The parameters of a fragment: neighbours, of about as many numbers as another's."""
        assert self.workers is not None
        params = parameters_of(self)
        total, at, members = sum(p.numel() for p in params), 0, set()
        for p in params:
            if at * self.workers.settings.fragments // max(total, 1) == fragment:
                members.add(p)
            at += p.numel()
        return members


def _set(targets: list[Tensor], x: list[Tensor], s: list[Tensor]) -> None:
    """targets <- x - s."""
    if targets:
        torch._foreach_copy_(targets, torch._foreach_sub(x, s))
