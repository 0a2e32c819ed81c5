"""The points of a parameter, and which of them it holds; all the others are in its state.

Per parameter the state holds

    anchor       x, in float32 where the parameter is of lower precision
    mean         mu, the running mean of the walk, likewise; not where averaging is 1
    thermal      n, the walk that noise alone would have made; only where mu is kept free of it
    walker       x', only where the parameter is of low precision (else the parameter is x')
    initialized  False until the parameter's first walk; till then it is its own anchor
    active       whether it took a step in the walk in progress
    average      the read-out, where there is one: an average of anchors that survives the walks
    displaced    number of the step for whose gradient the parameter is displaced, or -1
    kept         x' meanwhile, where the gradient point needs it kept
    at_anchor    whether the parameter holds the anchor, or the average
    at_average   whether it holds the average

and the buffers of the rules in use. While a parameter holds the anchor, the slot "anchor" holds
the walker, and while it holds the average, the slot "average" the anchor (where there is no
"walker").
"""

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from widevalley.optim._base import CheckedOptimizer
from widevalley.optim._checkpoint import State
from widevalley.optim._tensors import copy_, free_gathered, local_real_view, state_dtype
from widevalley.optim._validation import Group

POINTS = ("mean", "thermal", "average")
"""Names in the state of points that a setting asks for; without it they are not kept."""


class Shown(CheckedOptimizer):
    """An optimizer whose parameters can be made to hold their anchors, and an average of those."""

    _entries: ClassVar[tuple[str, ...]] = (
        *("anchor", "mean", "thermal", "walker", "kept", "average"),
        *("initialized", "active", "displaced", "at_anchor", "at_average"),
    )

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
        with self._holding(anchor=True):
            yield

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """Hold the read-out inside the block, the anchor where there is none; see `at_anchor`."""
        with self._holding(anchor=True, average=True):
            yield

    @contextmanager
    def _holding(self, *, anchor: bool, average: bool = False) -> Iterator[None]:
        first = self.param_groups[0]
        before = {"anchor": first["at_anchor"], "average": first["at_average"]}
        self._show(anchor=anchor, average=average)
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

    # --- the state --------------------------------------------------------------------------

    _widens: ClassVar = True  # whether what is kept beside low precision is float32

    def _state_of(self, p: Tensor, group: Group) -> State:
        state: State = self.state[p]
        anchor: Tensor | None = state.get("anchor")
        dtype = state_dtype(p) if self._widens else p.dtype
        if anchor is None or anchor.dtype != dtype or anchor.device != p.device:
            if anchor is not None and state["initialized"]:  # model.to, or another's checkpoint
                for name, value in state.items():
                    if isinstance(value, Tensor):
                        state[name] = value.to(p.device, dtype)
            else:
                state.clear()
                state.update(initialized=False, active=False, displaced=-1)
                state.update(at_anchor=False, at_average=False)
                state["anchor"] = p.detach().to(dtype, copy=True)
        if p.dtype == dtype and "walker" in state:
            show_exactly(p, state)
        elif p.dtype != dtype and "walker" not in state:
            state["walker"] = p.detach().to(dtype)
            if state["at_anchor"]:  # the anchor's slot held the walker
                state["walker"], state["anchor"] = state["anchor"], state["walker"]
        slots = self._slots(group)
        for name in POINTS:
            if name in state and name not in slots:  # the setting that asked for it is gone
                if name == "average" and state["at_average"]:
                    hold(p, state, anchor=True)
                del state[name]
        for name in slots:
            if name not in state and name == "mean":  # averaging was 1 until now, and mu x'
                state[name] = mean_of(p, state).detach().to(dtype, copy=True)
            elif name not in state and name == "average":
                state[name] = state["anchor"].clone()
            elif name not in state:
                state[name] = torch.zeros_like(state["anchor"])
        return state

    def _slots(self, group: Group) -> tuple[str, ...]:
        """Names of the tensors that a step of this group keeps beside the anchor."""
        average = () if group["readout"] is None else ("average",)
        return (*means_of(group), *average)

    def _saved_names(self, group: Group) -> tuple[str, ...]:
        flags = ("initialized", "active", "displaced", "at_anchor", "at_average")
        return ("anchor", *flags, *self._slots(group))


def means_of(group: Group) -> tuple[str, ...]:
    """Names in the state of what line 6 writes: nothing where mu is x'."""
    if group["noise_free_mean"]:
        return "mean", "thermal"
    return () if group["averaging"] == 1 else ("mean",)


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


def warn_where_modes_differ(groups: list[Group], states: Mapping[Tensor, State]) -> None:
    """Warn where a state amid a walk was loaded beside a model that was saved at the anchor."""
    params = [p for group in groups for p in group["params"] if states.get(p, {}).get("active")]
    pairs = [(p, states[p]["anchor"]) for p in params if "walker" not in states[p]]
    shown = ((local_real_view(p), local_real_view(x).to(p.device)) for p, x in pairs)
    if pairs and all(torch.equal(*pair) for pair in shown):
        warnings.warn(
            "the parameters hold the anchor, but the optimizer's state was saved amid a walk: save "
            "model and optimizer both inside at_anchor(), or both outside",
            stacklevel=2,
        )


def _exchange(p: Tensor, stored: Tensor) -> None:
    one, other = local_real_view(p), local_real_view(stored)
    before = one.clone()
    one.copy_(other)
    other.copy_(before)
