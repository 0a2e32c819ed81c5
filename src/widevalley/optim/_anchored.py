"""What every optimizer with an anchor shares: the clock, joining, the swap.

Per parameter the state holds

    anchor      x, in float32 where the parameter is narrower
    mean        mu, the running mean of the walk, likewise (with ``state_dtype``: mu - x)
    walker      x', only where the parameter is narrower than float32 (else the parameter is x')
    joined      False until the parameter's first walk; till then the parameter is its own anchor
    walked      whether it took a step in the walk in progress

and the buffers of the rules in use. While the parameters hold the anchor, the slot "anchor"
holds the walker (where there is no "walker").
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import StateDict

from widevalley.optim._checked import CheckedOptimizer, Group, State
from widevalley.optim._storage import new_anchor, new_buffer, new_mean, on_host, start_means
from widevalley.optim._tensors import copy_, is_narrow, numbers
from widevalley.optim.scoping import as_schedule


class AnchoredOptimizer(CheckedOptimizer):
    """An optimizer whose parameters walk around an anchor that moves every L-th step.

    `step` after `eval` without `train` raises RuntimeError: the parameters hold the anchor then.
    Subclasses say how the walkers of a group move and how its anchors do.
    """

    _clock: ClassVar = {"inner_step": 0, "outer_step": 0, "at_anchor": False}

    @abstractmethod
    def _walk(self, groups: list[Group]) -> None:
        """Move the walkers of these groups by one Langevin step and average them."""

    @abstractmethod
    def _move_anchors(self, groups: list[Group]) -> None:
        """Move the anchors of these groups, by the pseudo-gradient x - mu."""

    def _check(self) -> None:
        if self.param_groups[0]["at_anchor"]:
            raise RuntimeError("the parameters hold the anchor: call train() before step()")
        super()._check()

    def _step(self, moving: list[Group]) -> None:
        self._walk(moving)
        self._tick(moving)

    def _tick(self, moving: list[Group]) -> None:
        first = self.param_groups[0]
        inner, outer = first["inner_step"] + 1, first["outer_step"]
        if inner >= first["langevin_steps"]:
            self._move_anchors(moving)
            self._restart_walks([pair for group in moving for pair in self._walked(group)])
            inner, outer = 0, outer + 1
        self._set_clock(inner_step=inner, outer_step=outer)

    def scope(self, group: int = 0) -> float:
        """gamma(t) of the walk in progress, for the group of this number."""
        return scope(self.param_groups[group])

    # --- who walks --------------------------------------------------------------------------

    def _walkers(self, group: Group) -> Iterator[tuple[Tensor, State]]:
        """The parameters of the group that take this step, each with its state."""
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self._state_of(p, group)
            if not state["joined"]:
                if group["inner_step"] != 0:
                    continue
                _join(p, state)
            state["walked"] = True
            yield p, state

    def _walked(self, group: Group) -> Iterator[tuple[Tensor, State]]:
        """The parameters of the group that took a step in the walk that ends now."""
        for p in group["params"]:
            state = self.state.get(p)
            if state and state["walked"] and p.requires_grad:
                yield p, state

    def _restart_walks(self, walked: list[tuple[Tensor, State]]) -> None:
        """Line 1: x', mu <- x."""
        for _, state in walked:
            state["walked"] = False
        start_means(state for _, state in walked)
        copy_((s["walker"], s["anchor"]) for _, s in walked if "walker" in s)
        copy_((p, state["anchor"]) for p, state in walked)

    # --- walker or anchor in the parameters -------------------------------------------------

    def train(self, mode: bool = True) -> None:
        """Make the parameters hold the walker (the anchor with ``mode=False``); idempotent."""
        self._show(anchor=not mode)

    def eval(self) -> None:
        """Make the parameters hold the anchor, the weights the method stands for; idempotent."""
        self._show(anchor=True)

    @contextmanager
    def at_anchor(self) -> Iterator[None]:
        """Hold the anchor inside the block, and what was held before, bit for bit, after it.

        Evaluate and save the model here.
        """
        before = self.param_groups[0]["at_anchor"]
        self.eval()
        try:
            yield
        finally:
            self._show(anchor=before)

    @torch.no_grad()
    def _show(self, *, anchor: bool) -> None:
        if self.param_groups[0]["at_anchor"] == anchor:
            return
        for p, state in self.state.items():
            if state["joined"]:
                _swap(p, state, to_anchor=anchor)
        self._set_clock(at_anchor=anchor)

    # --- state ------------------------------------------------------------------------------

    _widens = True

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as torch does; amid a walk it joins at the next anchor update."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        with torch.no_grad():
            for p in group["params"]:
                if p.requires_grad:
                    self._state_of(p, group)

    def _state_of(self, p: Tensor, group: Group) -> State:
        state: State = self.state[p]
        if not state:
            anchor = new_anchor(p, group, widen=self._widens)
            mean = new_mean(p, anchor, group)
            state.update(anchor=anchor, mean=mean, joined=False, walked=False)
            if self._widens and is_narrow(p):
                state["walker"] = p.detach().float()
        for name in self._buffers(group):
            if name not in state:
                state[name] = new_buffer(p, state["anchor"], group)
        return state

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave, bit for bit; anchors kept on the host go back there."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for p in group["params"]:
                if "anchor" in self.state.get(p, {}):
                    self.state[p]["anchor"] = on_host(self.state[p]["anchor"], group)

    def _buffers(self, group: Group) -> tuple[str, ...]:
        """Names of the zero-initialised tensors that the rules of this group keep."""
        return ()


def scope(group: Group) -> float:
    """gamma(t) = gamma0 growth(t), t the group's count of outer updates."""
    return float(group["gamma"]) * as_schedule(group["gamma_growth"])(group["outer_step"])


def _join(p: Tensor, state: State) -> None:
    """Adopt the parameter as it is now, whatever was loaded into it since construction."""
    copy_((state[name], p) for name in ("anchor", "walker") if name in state)
    start_means([state])
    state["joined"] = True


def _swap(p: Tensor, state: State, *, to_anchor: bool) -> None:
    if "walker" in state:
        numbers(p).copy_(numbers(state["anchor" if to_anchor else "walker"]))
        return
    held, other = numbers(p), numbers(state["anchor"])
    kept = held.clone()
    held.copy_(other)
    other.copy_(kept)
