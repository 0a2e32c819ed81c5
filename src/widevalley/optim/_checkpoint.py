"""An optimizer whose state survives a checkpoint bit for bit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

from widevalley.optim._validation import A_FUNCTION, FUNCTIONS, Group, check_group

State = dict[str, Any]


class RestoredOptimizer(Optimizer, ABC):
    """torch's Optimizer, whose state tensors keep their dtype and whose checkpoints are checked."""

    # Counters and modes that all groups share, as plain values inside the groups: there they
    # survive wrappers that re-type an optimizer, state_dict and weights-only loading.
    _clock: ClassVar[Mapping[str, int | bool]]
    # What the state of a parameter may hold.
    _entries: ClassVar[tuple[str, ...]]
    # Names of the settings.
    _own: frozenset[str]

    @abstractmethod
    def _state_of(self, p: Tensor, group: Group) -> State:
        """The state of a parameter, made where it is missing or of another precision."""

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

    def _saved_names(self, group: Group) -> tuple[str, ...]:
        """What a checkpoint must hold of each parameter of a group."""
        return ()
