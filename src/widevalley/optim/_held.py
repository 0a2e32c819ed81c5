"""Which of its points a parameter holds; all the others are in its state."""

from torch import Tensor

from widevalley.optim._base import State
from widevalley.optim._tensors import copy_, local_real_view


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
