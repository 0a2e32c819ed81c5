"""An optimizer that checks what it is given and whose state survives a checkpoint bit for bit."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any, ClassVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT, StateDict

from widevalley.optim._implementation import check_fused
from widevalley.optim._storage import check_storage
from widevalley.optim._tensors import Place, check_gradient, check_parameter, places
from widevalley.optim._validation import SHARED, check_group

Group = dict[str, Any]
State = dict[str, Any]


class CheckedOptimizer(Optimizer, ABC):
    """torch's Optimizer with every setting checked, and state tensors that keep their dtype."""

    # Counters and modes that all groups share, as plain values inside the groups: there they
    # survive wrappers, state_dict and weights-only loading.
    _clock: ClassVar[Mapping[str, int | bool]]

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        check_group(defaults)
        super().__init__(params, {**defaults, **self._clock})

    @abstractmethod
    def _step(self, moving: list[Group]) -> None:
        """One step of these groups, those whose lr is not 0; never called without any."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Spend one gradient on one step.

        A group whose lr is 0 does not move at all; where that is every group, nothing changes.
        ``closure``, if given, is called once, first, and its loss is returned.

        Raises:
            ValueError: a gradient is sparse; nothing has been written then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check()
        if moving := self._moving():
            self._step(moving)
        return loss

    def _moving(self) -> list[Group]:
        return [group for group in self.param_groups if float(group["lr"]) != 0]

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, as torch does.

        Raises:
            ValueError: a setting is out of its range or differs from that of the other groups
                though all share it, or a parameter is of a kind that is not supported. Nothing
                has been added then.
        """
        group = {**self.defaults, **param_group}
        check_group(group)
        if self.param_groups:
            first = self.param_groups[0]
            for name in SHARED:
                if name in first and group[name] != first[name]:
                    raise ValueError(
                        f"{name} is one for all groups, {first[name]!r}, got {group[name]!r}"
                    )
            param_group.update({name: first[name] for name in self._clock})
        given = param_group["params"]
        param_group["params"] = [given] if isinstance(given, Tensor) else list(given)
        for i, entry in enumerate(param_group["params"]):
            p = entry[1] if isinstance(entry, tuple) else entry
            check_parameter(type(self).__name__, p, f"parameter {i}")
            check_fused(group, p)
            check_storage(group, p)
        super().add_param_group(param_group)

    def _set_clock(self, **values: Any) -> None:
        for group in self.param_groups:
            group.update(values)

    def _check(self) -> None:
        for g, group in enumerate(self.param_groups):
            for i, p in enumerate(group["params"]):
                if p.grad is not None:
                    check_gradient(type(self).__name__, p.grad, f"parameter {i} of group {g}")

    def _places(self) -> dict[Tensor, Place]:
        """Where each parameter's elements stand among those of all, which keys their noise."""
        params = [p for group in self.param_groups for p in group["params"]]
        known: dict[Tensor, Place] = self.__dict__.get("_known_places", {})
        if len(known) != len(params) or not all(map(is_, known, params)):
            known = places(params)
            self.__dict__["_known_places"] = known
        return known

    def state_dict(self) -> StateDict:
        """torch's state_dict, of plain values and tensors alone.

        A schedule given as ``gamma_growth`` is left out, as torch leaves out a LambdaLR's
        functions: construct with the same one to resume.
        """
        packed = super().state_dict()
        for group in packed["param_groups"]:
            if callable(group.get("gamma_growth")):
                del group["gamma_growth"]
        return packed

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what `state_dict` gave, bit for bit: no tensor changes its dtype or is shared.

        A setting that it does not name stays as it is.
        """
        before = self.param_groups
        super().load_state_dict(state_dict)
        saved = [key for group in state_dict["param_groups"] for key in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for key, p in zip(saved, params, strict=True):
            for name, value in state_dict["state"].get(key, {}).items():
                if isinstance(value, Tensor):
                    self.state[p][name] = value.detach().to(p.device, copy=True)
        for group, old in zip(self.param_groups, before, strict=True):
            for name, value in old.items():  # a schedule, and what an older version did not save
                group.setdefault(name, value)


def own_arguments(arguments: dict[str, Any]) -> Group:
    """The settings among the ``locals()`` of an optimizer's constructor."""
    return {k: v for k, v in arguments.items() if k not in ("self", "params", "__class__")}
