"""The walk, lines 1 to 6 of Algorithm 1: its settings, who steps together, and the step."""

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._C._nn import flatten_dense_tensors, unflatten_dense_tensors

from widevalley.optim._algorithm import (
    Langevin,
    Points,
    average_,
    langevin_adam_step_,
    langevin_step_,
)
from widevalley.optim._anchored import scope
from widevalley.optim._base import CheckedOptimizer
from widevalley.optim._checkpoint import State
from widevalley.optim._held import mean_of, means_of, walker_of
from widevalley.optim._kernel import available, fused_step_, lacking
from widevalley.optim._noise import WORD, indices, noise, step_key
from widevalley.optim._tensors import element_index, is_small, local_real_view
from widevalley.optim._validation import Group
from widevalley.optim.workers._replicas import Replicas

NO_KEY = (0, 0, 0)
_gradient = attrgetter("grad")

LARGE = (1 << 17, 1 << 12)
"""Numbers from which a processor's kernel is faster than the lines, without noise and with."""


class How(NamedTuple):
    """How the steps of a group are taken."""

    fused: bool | None
    """Whether by the kernel; None where that pays."""
    side_by_side: bool
    """Whether small parameters go together."""
    slots: tuple[str, ...]
    """Names in the state of what is read and written beside the walker."""


class LangevinStep(CheckedOptimizer):
    """An optimizer whose parameters take Langevin steps: `SGLD`, and those with an anchor."""

    @abstractmethod
    def _settings(self, group: Group) -> Langevin:
        """The settings of a step of the group."""

    @abstractmethod
    def _how(self, group: Group) -> How:
        """How steps of the group are taken, and what they keep beside the walker."""

    def _walk(self, groups: list[Group]) -> None:
        """Lines 4 to 6 of Algorithm 1."""
        settings = list(map(self._settings, groups))  # a schedule that is refused moves nothing
        for group, s in zip(groups, settings, strict=True):
            walkers = self._walkers(group)
            for part in walkers.parts:
                w = part.points()
                clock = group["seed"], group["worker"], group["outer_step"], group["inner_step"]
                key = step_key(*clock, w.block) if s.noise_std else NO_KEY
                fused = walkers.fused[bool(s.noise_std)]
                if not (fused and fused_step_(w, s, key, must=walkers.how.fused)):
                    z = noise(w.walker, key, w.index, s.law) if s.noise_std else None
                    (langevin_adam_step_ if s.betas else langevin_step_)(w, z, s)
                    average_(w, s, z)
                if w.params:  # they are not the walker themselves
                    torch._foreach_copy_(w.params, w.views)

    def _walkers(self, group: Group) -> "Walkers":
        """Who takes this step and who of them together, made anew where that has changed."""
        known: dict[int, Walkers] = self.__dict__.setdefault("_known_walkers", {})
        walkers, walking = known.get(id(group)), self._walking(group)
        if walkers is not None and len(walking) == len(walkers.members):
            for (p, state), (q, dtype, slot) in zip(walking, walkers.members, strict=True):
                same = p is q and p.dtype is dtype
                if not same or state.get("anchor", state.get("walker")) is not slot:
                    break  # a state was loaded or converted
            else:
                return walkers
        known[id(group)] = Walkers(walking, self._how(group), self._first_elements())
        return known[id(group)]

    def _settings_changed(self, group: Group) -> None:
        super()._settings_changed(group)
        known = self.__dict__.get("_known_walkers", {})
        if id(group) in known and known[id(group)].how != self._how(group):
            del known[id(group)]

    def _check_parameter(self, p: object, group: Group, where: str) -> None:
        super()._check_parameter(p, group, where)
        if "fused" in self._own and group["fused"] and isinstance(p, Tensor):
            needed = lacking(p.device)
            if needed is not None:
                raise ValueError(f"fused must not be True on {p.device}: it needs {needed}")


class LangevinWalk(LangevinStep, Replicas):
    """An anchored optimizer that walks by Langevin steps: `EntropySGD` and `EntropyAdam`."""

    _entries: ClassVar[tuple[str, ...]] = (*Replicas._entries, "langevin_buffer")

    def _settings(self, group: Group) -> Langevin:
        eta = float(group["langevin_lr"])
        gamma = min(scope(group), 1 / eta) if eta else 0.0  # more would overshoot the anchor
        return Langevin(
            lr=eta,
            gamma=gamma,
            pull=eta * gamma,
            noise_std=float(group["noise"]) * math.sqrt(eta),
            law=group["noise_law"],
            averaging=float(group["averaging"]),
            weight_decay=float(group["weight_decay"]),
            momentum=float(group["langevin_momentum"]),
            nesterov=group["langevin_nesterov"],
            momentum_on_all=group["momentum_on_all"],
            sign=-1.0 if group["maximize"] else 1.0,
            betas=group.get("langevin_betas"),
            eps=group.get("eps", 0.0),
        )

    def _how(self, group: Group) -> How:
        means = means_of(group)
        if group.get("langevin_betas"):
            # each parameter counts its own steps, and so goes on its own, line by line
            return How(False, False, ("anchor", *means))
        buffer = ("langevin_buffer",) if group["langevin_momentum"] else ()
        fused = False if "thermal" in means else group["fused"]
        return How(fused, True, ("anchor", *means, *buffer))

    def _has_momentum(self, group: Group) -> bool:
        return bool(group["langevin_momentum"] or group.get("langevin_betas"))

    def _slots(self, group: Group) -> tuple[str, ...]:
        buffer = ("langevin_buffer",) if "langevin_buffer" in self._how(group).slots else ()
        return (*super()._slots(group), *buffer)

    def _restart_walks(self, groups: list[Group]) -> None:
        resetting = [group for group in groups if group["reset_momentum"]]
        walked = [state for group in resetting for _, state in self._walked(group)]
        super()._restart_walks(groups)
        buffers = [local_real_view(s["langevin_buffer"]) for s in walked if "langevin_buffer" in s]
        if buffers:
            torch._foreach_zero_(buffers)

    def _ended(self, group: Group) -> tuple[list[State], list[Tensor], list[Tensor]]:
        """Of the walks that end now: the states, the anchors x and the means mu."""
        walked = self._walked(group)
        states = [state for _, state in walked]
        x = [local_real_view(state["anchor"]) for state in states]
        return states, x, [local_real_view(mean_of(p, state)) for p, state in walked]


class Walkers:
    """Who takes a step of a group: small parameters side by side, the others each on its own."""

    def __init__(
        self, walking: Sequence[tuple[Tensor, State]], how: How, first: Mapping[Tensor, int]
    ) -> None:
        self.how = how
        fused, side_by_side, slots = how
        params = [p for p, _ in walking]
        self.fused = [(fused is None and _pays(params, at)) or bool(fused) for at in LARGE]
        together = defaultdict(list)
        self.parts: list[FlatBuffers | OnItsOwn] = []
        for p, state in walking:
            if side_by_side and is_small(p):
                together[p.dtype, p.device, first[p] // WORD].append((p, state))
            else:
                self.parts.append(OnItsOwn(p, state, slots, first[p], in_memory=any(self.fused)))
        for members in together.values():
            self.parts.append(FlatBuffers(members, slots, first))
        self.members = [(p, p.dtype, s.get("anchor", s.get("walker"))) for p, s in walking]


class FlatBuffers:
    """Small parameters in one tensor of each kind, of which their states show views.

    A step of them is a handful of passes instead of a handful for each.
    """

    def __init__(
        self,
        members: Sequence[tuple[Tensor, State]],
        slots: Sequence[str],
        first: Mapping[Tensor, int],
    ) -> None:
        self._params = [p for p, _ in members]
        self._flat: dict[str, Tensor] = {}
        for name in (*slots, "walker"):
            if name in members[0][1]:
                tensors = [state[name] for _, state in members]
                self._flat[name] = flatten_dense_tensors(tensors)
                views = unflatten_dense_tensors(self._flat[name], tensors)
                for (_, state), view in zip(members, views, strict=True):
                    state[name] = view
        self._gathers = "walker" not in self._flat  # the parameters themselves are the walker
        self._gradient = torch.cat([p.detach().flatten() for p in self._params])  # room for it
        self._walker = self._flat.get("walker", torch.empty_like(self._gradient))
        self._walkers = list(unflatten_dense_tensors(self._walker, self._params))
        self._gradients = list(unflatten_dense_tensors(self._gradient, self._params))
        index = [indices(first[p], p.numel(), p.device) for p, _ in members]
        self._index, self._block = torch.cat(index), first[members[0][0]] // WORD

    def points(self) -> Points:
        """The parameters and gradients as they are now, beside the flat state."""
        if self._gathers:
            torch._foreach_copy_(self._walkers, self._params)
        torch._foreach_copy_(self._gradients, list(map(_gradient, self._params)))
        return Points(
            self._walker,
            self._gradient,
            self._flat.get("anchor", self._walker),
            self._flat.get("mean"),
            self._flat.get("langevin_buffer"),
            self._index,
            self._block,
            self._params,
            self._walkers,
            thermal=self._flat.get("thermal"),
        )


class OnItsOwn:
    """A parameter that is large, sharded or complex."""

    def __init__(
        self, p: Tensor, state: State, slots: Sequence[str], first: int, *, in_memory: bool
    ) -> None:
        self._p, self._state, self._slots = p, state, slots
        self._index, self._block = element_index(p, first), first // WORD
        self._order: tuple[int, ...] | None = None
        shown = local_real_view(p)
        if in_memory and not shown.is_contiguous():
            # the kernel passes over memory: dimensions and numbers are laid out as they are there
            self._order = tuple(sorted(range(shown.dim()), key=shown.stride, reverse=True))
            if isinstance(self._index, int):
                self._index = indices(self._index, shown.numel(), shown.device)
            self._index = self._index.view(shown.shape).permute(self._order).flatten()

    def points(self) -> Points:
        """The parameter and its gradient as they are now, beside its state."""
        p, state = self._p, self._state
        shown, walker = self._view(p), self._view(walker_of(p, state))
        slots = {name: self._view(state[name]) for name in self._slots}
        assert p.grad is not None
        return Points(
            walker,
            self._view(p.grad),
            slots.get("anchor", walker),
            slots.get("mean"),
            slots.get("langevin_buffer"),
            self._index,
            self._block,
            [shown] if "walker" in state else [],
            [walker],
            state,
            slots.get("thermal"),
        )

    def _view(self, t: Tensor) -> Tensor:
        t = local_real_view(t)
        return t if self._order is None else t.permute(self._order)


def _pays(params: Sequence[Tensor], large: int) -> bool:
    """Whether the kernel is worth its making, and can be made."""
    if not params:
        return False
    device = params[0].device
    if device.type == "cpu" and sum(p.numel() for p in params) < large:
        return False
    return available(device)
