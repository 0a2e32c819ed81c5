"""An optimizer that checks what it is given."""

from abc import abstractmethod
from collections.abc import Callable
from operator import is_
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from widevalley.optim._checkpoint import RestoredOptimizer, State
from widevalley.optim._conventions import Conventions
from widevalley.optim._repeated_noise import all_under_zero, backward, check_parts
from widevalley.optim._tensors import check_parameter, first_elements
from widevalley.optim._validation import (
    RATES,
    SHARED,
    Group,
    check_group,
    check_setting,
    check_together,
)


class CheckedOptimizer(RestoredOptimizer):
    """torch's Optimizer with every setting checked."""

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
        self._take_changes()
        moving, task = [], torch._C._current_graph_task_id()
        for g, group in enumerate(self.param_groups):
            if task != -1:
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

    def _take_changes(self) -> None:
        """Let settings that have changed take effect, when all of them have been checked."""
        checked, news = self.__dict__.setdefault("_checked", {}), []
        for g, group in enumerate(self.param_groups):
            known, changed = checked.setdefault(g, {}), {}
            for name, value in group.items():
                if name in self._own and (name not in known or value is not known[name]):
                    check_setting(name, value)
                    changed[name] = value
            if changed:
                news.append((group, known, changed))
        if not news:
            return
        # Rates are what schedulers change all the time.
        others = [group for group, _, changed in news if not RATES.issuperset(changed)]
        for group in self.param_groups if others else ():
            self._check_shared(group)
        for group in others:
            check_together(group)
            check_parts(group)
            self._check_change(group)
        for group in others:
            self._settings_changed(group)
        for _, known, changed in news:
            known.update(changed)

    def _check_shared(self, group: Group) -> None:
        """Raise ValueError where a setting that all groups share differs from the first's."""
        first = self.param_groups[0]
        for name in SHARED:
            if name in first and group[name] != first[name]:
                raise ValueError(
                    f"{name} is one for all groups, {first[name]!r}, got {group[name]!r}"
                )

    def _check_change(self, group: Group) -> None:
        """Raise ValueError where a group cannot go on with the settings that it has now."""

    def _settings_changed(self, group: Group) -> None:
        """A group's settings are others than at the last step."""

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as torch does.

        Raises:
            ValueError: a setting is out of its range or differs from that of the other groups
                though all share it, or a parameter is of a kind that is not supported. Nothing
                has been added then.
        """
        lay_open(param_group)
        group = {**self.defaults, **param_group}
        check_group({name: group[name] for name in self._own})
        if self.param_groups:
            self._check_shared(group)
            param_group.update({name: self.param_groups[0][name] for name in self._clock})
        param_group["params"] = listed(param_group["params"])
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

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_own": self._own, "_of_all": self._of_all}


def own_arguments(arguments: dict[str, Any]) -> Group:
    """The settings among the ``locals()`` of an optimizer's constructor, conventions laid open."""
    own = {k: v for k, v in arguments.items() if k not in ("self", "params", "__class__")}
    lay_open(own)
    return own


def lay_open(settings: Group) -> None:
    """Put each of the ``conventions``, where they are given, in their place."""
    if "conventions" not in settings:
        return
    conventions = settings.pop("conventions")
    if not isinstance(conventions, Conventions):
        raise ValueError(f"conventions must be a widevalley.Conventions, got {conventions!r}")
    settings.update(vars(conventions))


def listed(params: Any) -> list[Any]:
    """The parameters of a group. Raises TypeError for a set, as torch does."""
    if isinstance(params, set):
        raise TypeError("params must be in an order that runs share, not in a set")
    return [params] if isinstance(params, Tensor) else list(params)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All parameters of an optimizer, in order."""
    return [p for group in optimizer.param_groups for p in group["params"]]
