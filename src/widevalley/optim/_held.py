"""The points of a parameter, and which of them it holds; all the others are in its state."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from widevalley.optim._base import CheckedOptimizer
from widevalley.optim._checkpoint import State
from widevalley.optim._tensors import copy_, free_gathered, local_real_view
from widevalley.optim._validation import Group


class Shown(CheckedOptimizer):
    """An optimizer whose parameters can be made to hold their anchors, and an average of those."""

    @abstractmethod
    def _displace_again(self, group: Group, shown: list[tuple[Tensor, State]]) -> None:
        """Move parameters that show their walkers to where their gradients were to be taken."""

    def train(self, mode: bool = True) -> None:
        """Make the parameters hold the walker (the anchor with ``mode=False``); idempotent."""
        self._show(anchor=not mode)

    def eval(self) -> None:
        """Make the parameters hold the weights the method stands for; idempotent.

        They are the average where there is a read-out, else the anchor.
        """
        self._show(anchor=True, average=True)

    @contextmanager
    def at_anchor(self) -> Iterator[None]:
        """Hold the anchor inside the block, and what was held before, bit for bit, after it.

        Evaluate and save the model here.
        """
        with self._shown(average=False):
            yield

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """Hold the read-out inside the block, the anchor where there is none; see `at_anchor`."""
        with self._shown(average=True):
            yield

    @contextmanager
    def _shown(self, *, average: bool) -> Iterator[None]:
        first = self.param_groups[0]
        before = {"anchor": first["at_anchor"], "average": first["at_average"]}
        self._show(anchor=True, average=average)
        try:
            yield
        finally:
            self._show(**before)

    @torch.no_grad()
    def _show(self, *, anchor: bool, average: bool = False) -> None:
        changing = [
            (group, self._not_showing(group, anchor=anchor, average=average))
            for group in self.param_groups
        ]
        free_gathered([p for _, pairs in changing for p, _ in pairs])
        for group, pairs in changing:
            for p, _ in pairs:
                hold(p, self._state_of(p, group), anchor=anchor, average=average)
            # The others hold the displaced walker, to the bit.
            rounded = [(p, s) for p, s in pairs if "walker" in s and s["displaced"] >= 0]
            if rounded and not anchor:
                self._displace_again(group, rounded)
        self._set_clock(at_anchor=anchor, at_average=average)

    def _not_showing(
        self, group: Group, *, anchor: bool, average: bool
    ) -> list[tuple[Tensor, State]]:
        """The parameters of a group that hold something else."""
        pairs = [(p, self.state.get(p)) for p in group["params"] if p.requires_grad]
        return [
            (p, state)
            for p, state in pairs
            if state
            and state["initialized"]
            and (state["at_anchor"] != anchor or state["at_average"] != average)
        ]


def adopt(p: Tensor, state: State) -> None:
    """Take the parameter as it is now, whatever was loaded into it since construction."""
    names = [name for name in ("anchor", "walker", "mean", "average") if name in state]
    copy_([state[name] for name in names], [p] * len(names))
    state["initialized"] = True


def hold(p: Tensor, state: State, *, anchor: bool, average: bool = False) -> None:
    """Make the parameter hold the walker, the anchor or the average; every bit stays somewhere."""
    average = average and "average" in state
    if "walker" in state:  # the parameter is a rounded copy of what it holds
        held = "average" if average else "anchor" if anchor else "walker"
        local_real_view(p).copy_(local_real_view(state[held]))
    else:
        if state["at_average"]:
            _exchange(p, state["average"])
        if state["at_anchor"] != anchor:
            _exchange(p, state["anchor"])
        if average:
            _exchange(p, state["average"])
    state.update(at_anchor=anchor, at_average=average)


def walker_of(p: Tensor, state: State) -> Tensor:
    """x', which a parameter of full precision is itself."""
    walker: Tensor = state.get("walker", p)
    return walker


def mean_of(p: Tensor, state: State) -> Tensor:
    """mu, which is x' where averaging is 1."""
    mu: Tensor = state["mean"] if "mean" in state else walker_of(p, state)
    return mu


def show_exactly(p: Tensor, state: State) -> None:
    """Do without the walker's slot, beside a parameter that is no longer of low precision."""
    walker = state.pop("walker")
    if not state["initialized"]:
        return
    shown = state["anchor"] if state["at_anchor"] else walker  # of which p has the rounded numbers
    copy_([p], [shown])
    if state["at_anchor"]:
        state["anchor"] = walker


def _exchange(p: Tensor, stored: Tensor) -> None:
    one, other = local_real_view(p), local_real_view(stored)
    before = one.clone()
    one.copy_(other)
    other.copy_(before)
