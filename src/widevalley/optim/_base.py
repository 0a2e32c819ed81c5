"""An optimizer that checks what it is given and whose state survives a checkpoint bit for bit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from widevalley.optim._repeated_noise import all_under_zero, backward, check_parts
from widevalley.optim._tensors import check_parameter, first_elements
from widevalley.optim._validation import (
    A_FUNCTION,
    FUNCTIONS,
    RATES,
    SHARED,
    Group,
    check_group,
    check_setting,
)

State = dict[str, Any]


class CheckedOptimizer(Optimizer, ABC):
    """torch's Optimizer with every setting checked, and state tensors that keep their dtype."""

    # Counters and modes that all groups share, as plain values inside the groups: there they
    # survive wrappers that re-type an optimizer, state_dict and weights-only loading.
    _clock: ClassVar[Mapping[str, int | bool]]
    # What the state of a parameter may hold.
    _entries: ClassVar[tuple[str, ...]]

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        check_group(defaults)
        self._own = frozenset((*defaults, "lr"))
        self._of_all = list[Tensor]()
        super().__init__(params, {**defaults, **self._clock})

    @abstractmethod
    def _step(self, moving: list[Group]) -> None:
        """One step of these groups, those whose lr is not 0; never called without any."""

    @abstractmethod
    def _walking(self, group: Group) -> list[tuple[Tensor, State]]:
        """The parameters of the group that take this step, each with its state."""

    @abstractmethod
    def _state_of(self, p: Tensor, group: Group) -> State:
        """The state of a parameter, made where it is missing or of another precision."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch._disable_dynamo  # type: ignore[attr-defined]  # a step is for torch.compile one call that it leaves alone
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Spend one gradient on one step.

        A group whose lr is 0 does not move at all; where that is every group, nothing changes.
        ``closure``, if given, is called once, first, and its loss is returned.

        Raises:
            ValueError: a gradient is sparse, or a setting was changed to what is not allowed;
                nothing has been written then.
            FloatingPointError: a walk around an anchor would end at weights that are not finite;
                the anchor is as before it.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if moving := self._moving():
            self._step(moving)
        return loss

    def _moving(self) -> list[Group]:
        """The groups whose lr is not 0; raises where a step cannot be taken."""
        moving, checked = [], self.__dict__.setdefault("_checked", {})
        for g, group in enumerate(self.param_groups):
            known, changed = checked.setdefault(g, {}), False
            for name, value in group.items():
                if name in self._own and value is not known.get(name):
                    check_setting(name, value)
                    known[name] = value
                    changed = changed or name not in RATES  # which schedulers change all the time
            if changed:
                self._check_shared(group)
                self._settings_changed(group)
                check_parts(group)
            if (task := torch._C._current_graph_task_id()) != -1:
                backward.check(task, self, group)
            if float(group["lr"]) != 0:
                moving.append(group)
            for i, p in enumerate(group["params"]):
                if p.grad is not None and p.grad.layout is not torch.strided:
                    raise ValueError(
                        f"{type(self).__name__} needs dense gradients, got one of {p.grad.layout} "
                        f"for parameter {i} of group {g}; build the embedding with sparse=False"
                    )
        return moving

    def _check_shared(self, group: Group) -> None:
        """Raise ValueError where a setting that all groups share differs from the first's."""
        first = self.param_groups[0]
        for name in SHARED:
            if name in first and group[name] != first[name]:
                raise ValueError(
                    f"{name} is one for all groups, {first[name]!r}, got {group[name]!r}"
                )

    def _settings_changed(self, group: Group) -> None:
        """A group's settings are others than at the last step."""

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as torch does.

        Raises:
            ValueError: a setting is out of its range or differs from that of the other groups
                though all share it, or a parameter is of a kind that is not supported. Nothing
                has been added then.
        """
        group = {**self.defaults, **param_group}
        check_group({name: group[name] for name in self._own})
        if self.param_groups:
            self._check_shared(group)
            param_group.update({name: self.param_groups[0][name] for name in self._clock})
        given = param_group["params"]
        param_group["params"] = [given] if isinstance(given, Tensor) else list(given)
        for i, entry in enumerate(param_group["params"]):
            p = entry[1] if isinstance(entry, tuple) else entry
            self._check_parameter(p, group, f"parameter {i}")
        super().add_param_group(param_group)
        self._of_all = all_under_zero() or self._of_all
        # state is there from the start, for distributed checkpoints take its names from it
        with torch.no_grad():
            for p in self.param_groups[-1]["params"]:
                if p.requires_grad:
                    self._state_of(p, self.param_groups[-1])

    def _check_parameter(self, p: object, group: Group, where: str) -> None:
        """Raise ValueError for a parameter that cannot be one of the group."""
        check_parameter(type(self).__name__, p, where)

    def _set_clock(self, **values: Any) -> None:
        for group in self.param_groups:
            group.update(values)

    def _first_elements(self) -> dict[Tensor, int]:
        """The number of each parameter's first element among those of all."""
        params = self._of_all or parameters_of(self)
        known: dict[Tensor, int] = self.__dict__.get("_known_first", {})
        if len(known) != len(params) or not all(map(is_, known, params)):
            known = self.__dict__["_known_first"] = first_elements(params)
        return known

    # --- checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """torch's state_dict, of plain values and tensors alone.

        Of a function given as ``gamma_growth``, ``readout`` or ``gradient_point`` it says no more
        than that it was one: construct with the same one to resume.
        """
        packed = super().state_dict()
        for group in packed["param_groups"]:
            for name in FUNCTIONS:
                if callable(group.get(name)):
                    group[name] = A_FUNCTION
        return packed

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave, bit for bit: no tensor changes its dtype or is shared.

        A setting that it does not name stays as it is.

        Raises:
            ValueError: a setting out of its range, a state that lacks an entry or has one of
                another shape; nothing has been loaded then.
        """
        before, taken = self.param_groups, {}

        def last_before(_: Optimizer, loaded: StateDict) -> None:
            """Runs after the user's hooks, before anything changes."""
            self._check_loaded(loaded)
            taken.update(loaded)

        def first_after(_: Optimizer) -> None:
            """Runs when torch has loaded, before the user's hooks."""
            for group, old in zip(self.param_groups, before, strict=True):
                for name, value in old.items():
                    if name not in group or group[name] == A_FUNCTION:
                        group[name] = value  # what older versions did not save, and functions
            saved = [key for group in taken["param_groups"] for key in group["params"]]
            self._restore([taken["state"].get(key, {}) for key in saved])

        handles = [
            self.register_load_state_dict_pre_hook(last_before),
            self.register_load_state_dict_post_hook(first_after, prepend=True),
        ]
        try:
            super().load_state_dict(state_dict)
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def _restore(self, saved: list[State]) -> None:
        """Take the tensors of each parameter's state as they were saved.

        torch has cast them to the parameter's dtype: float32 sums beside bfloat16 parameters
        would come back rounded.
        """
        pairs = [(p, group) for group in self.param_groups for p in group["params"]]
        for (p, group), state in zip(pairs, saved, strict=True):
            for name, value in state.items():
                if isinstance(value, Tensor):
                    self.state[p][name] = value.detach().to(p.device, copy=True)
            if state:
                self._state_of(p, group)  # the parameter's dtype may be another than when saved

    def _check_loaded(self, loaded: StateDict) -> None:
        """Raise ValueError for a state_dict that is not one of an optimizer like this."""
        groups = loaded["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            return  # torch refuses it by its own words
        for ours, theirs in zip(self.param_groups, groups, strict=True):
            for name in self._clock:
                if name not in theirs:
                    raise ValueError(
                        f"state_dict must hold {name!r} in its groups, as that of "
                        f"{type(self).__name__} does"
                    )
            settings = {name: theirs.get(name, ours[name]) for name in (*self._own, *self._clock)}
            for name in FUNCTIONS:
                if settings.get(name) == A_FUNCTION:
                    settings[name] = ours[name]
                    if not callable(ours[name]):
                        raise ValueError(
                            f"{name} was a function when the state_dict was made: give "
                            f"{type(self).__name__} the same one to load it, not {ours[name]!r}"
                        )
            check_group(settings)
            for i, (p, key) in enumerate(zip(ours["params"], theirs["params"], strict=True)):
                found = loaded["state"].get(key, {})
                where = f"of parameter {i} of {type(self).__name__}"
                for name in self._saved_names({**ours, **theirs}) if p in self.state else ():
                    if name not in found:
                        raise ValueError(f"state_dict must hold {name!r} {where}")
                for name, value in found.items():
                    if name not in self._entries:
                        raise ValueError(f"state_dict must not hold {name!r} {where}")
                    if isinstance(value, Tensor) and value.dim() and value.shape != p.shape:
                        raise ValueError(
                            f"{name!r} {where} must have its shape {tuple(p.shape)}, "
                            f"got {tuple(value.shape)}"
                        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_own": self._own, "_of_all": self._of_all}

    def _saved_names(self, group: Group) -> tuple[str, ...]:
        """What a checkpoint must hold of each parameter of a group."""
        return ()


def own_arguments(arguments: dict[str, Any]) -> Group:
    """The settings among the ``locals()`` of an optimizer's constructor, conventions laid open."""
    own = {k: v for k, v in arguments.items() if k not in ("self", "params", "__class__")}
    if "conventions" in own:
        own.update(vars(own.pop("conventions")))
    return own


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimizer, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]
