"""An anchored optimizer that may be connected to others: one worker of several.

Here is what every mode of working together shares: who is asked whether all are at one point of one
training, what they must have in common, and what a checkpoint holds. `LocalWalks` and `Replicas`
say what is sent at the end of a walk. State of a parameter beside that of `AnchoredOptimizer`:

    sent      s_i while it travels; only where there is a delay, as the next two
    received  the mean of s, once it is there
    on_way    number of the walk whose mean has not moved the anchor yet, or -1
    unsent    e, what `TopK` keeps back
    average   the centre of replicas, where there is a coupling
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT, StateDict

from widevalley.optim._anchored import AnchoredOptimizer
from widevalley.optim._base import parameters_of
from widevalley.optim._checkpoint import State
from widevalley.optim._tensors import copy_, local_real_view, views
from widevalley.optim._validation import Group
from widevalley.optim.workers._agreement import Agreement, Description
from widevalley.optim.workers._communication import connect
from widevalley.optim.workers.settings import Coupling, TopK, Workers

Pairs = list[tuple[Tensor, State]]
Flight = tuple[Pairs, Callable[[], None], Callable[[], list[Tensor]]]
"""Whose numbers travel, what waits for the agreement and what for the means."""


class ConnectedOptimizer(AnchoredOptimizer):
    """An anchored optimizer with a connection to the other workers, if there is a process group."""

    _entries: ClassVar[tuple[str, ...]] = (
        *AnchoredOptimizer._entries,
        *("sent", "received", "on_way", "unsent"),
    )

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        given = defaults.pop("process_group", None)
        if given is not None:
            settings = given if isinstance(given, Workers) else Workers(given)
            self._check_workers(settings, defaults)
            self.workers = connect(settings)
            self._agreement, self._flights = Agreement(self.workers), dict[int, Flight]()
            self._equal = False  # whether the anchors are known to be the same everywhere
            defaults.update(worker=self.workers.rank, workers=self.workers.size)
            if settings.coupling is not None:
                defaults["coupling"] = settings.coupling.strength
        super().__init__(params, defaults)

    def _check_workers(self, settings: Workers, defaults: Group) -> None:
        """Raise ValueError where settings do not go together."""
        if settings.delay > defaults["langevin_steps"]:
            raise ValueError(
                f"delay must be at most langevin_steps, {defaults['langevin_steps']}, "
                f"got {settings.delay}"
            )
        if settings.coupling is not None and defaults["readout"] is not None:
            raise ValueError(
                "readout must be None with a coupling, whose centre is what eval() shows; "
                f"got {defaults['readout']!r}"
            )
        if defaults["worker"] != 0:
            raise ValueError(
                "worker must not be given beside process_group, whose rank it is; "
                f"got {defaults['worker']}"
            )

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; with a process group, on every worker: all get the first one's weights."""
        super().add_param_group(param_group)
        if self.workers is not None:
            group = self.param_groups[-1]
            params = [p for p in group["params"] if not p.is_meta]
            device = params[0].device if params else torch.device("cpu")
            self._agreement.ask({"parameters": _kinds(group["params"])}, 0, device)()
            self.workers.start_equal([local_real_view(p) for p in params])
            self._equal = False

    # --- what travels -----------------------------------------------------------------------

    def _agree(self, moving: list[Group], ended: Pairs) -> Callable[[], None]:
        """Begin to ask all whether they are at this end of a walk, as this worker is."""
        first, params = moving[0], parameters_of(self)
        device = params[0].device if params else torch.device("cpu")
        step = first["outer_step"] * first["langevin_steps"] + first["inner_step"] + 1
        agreed = self._agreement.ask(self._description(moving, ended), step, device)
        self._equal = True
        return agreed

    def _description(self, moving: list[Group], ended: Pairs) -> Description:
        """What all workers must have in common to average these walks."""
        params = parameters_of(self)
        numbers = {p: i for i, p in enumerate(params)}
        kept = {"params", "worker", "workers", *self._clock}
        described = {
            "parameters": _kinds(params),
            "settings": [
                f"{name} {_plain(group[name])} of group {g}"
                for g, group in enumerate(self.param_groups)
                if any(group is other for other in moving)
                for name in sorted(set(group) - kept)
                if isinstance(group[name], (int, float, str, tuple, Tensor))
            ],
            "gradients": [f"one for parameter {numbers[p]}" for p, _ in ended],
        }
        if not self._equal and self._coupling is None:
            described["anchors"] = [
                f"bits with the sum {_bits(self.state[p]['anchor']):x} in parameter {i}"
                for i, p in enumerate(params)
                if self.state.get(p, {}).get("initialized")
            ]
        return described

    def _arrive(self, fragment: int) -> None:
        """Wait for the means that are on their way and keep them."""
        flight = self._flights.pop(fragment, None)
        if flight is not None:
            pairs, agreed, arrived = flight
            agreed()
            name = "received" if self._coupling is None else "average"
            copy_(views(state[name] for _, state in pairs), arrived())

    @property
    def _coupling(self) -> Coupling | None:
        return None if self.workers is None else self.workers.settings.coupling

    # --- state ------------------------------------------------------------------------------

    def _slots(self, group: Group) -> tuple[str, ...]:
        centre = ("average",) if "coupling" in group else ()  # also where all of it was loaded
        return (*super()._slots(group), *centre)

    def _state_of(self, p: Tensor, group: Group) -> State:
        state = super()._state_of(p, group)
        for name in self._sent():
            if name not in state:
                state[name] = -1 if name == "on_way" else torch.zeros_like(state["anchor"])
        return state

    def _sent(self) -> tuple[str, ...]:
        """Names in the state of what is kept between walks."""
        if self.workers is None:
            return ()
        settings = self.workers.settings
        unsent = ("unsent",) if isinstance(settings.compression, TopK) else ()
        return ("sent", "received", "on_way", *unsent) if settings.delay else unsent

    def _saved_names(self, group: Group) -> tuple[str, ...]:
        return (*super()._saved_names(group), *self._sent())

    def state_dict(self) -> StateDict:
        """As torch's; of one worker, whose walk and inner state are its own."""
        if self.workers is not None:
            for fragment in list(self._flights):
                self._arrive(fragment)
        return super().state_dict()

    def _check_loaded(self, loaded: StateDict) -> None:
        super()._check_loaded(loaded)
        if self.workers is not None:
            self._check_whose(loaded)
        if "on_way" not in self._sent() and any(
            state.get("on_way", -1) >= 0 for state in loaded["state"].values()
        ):
            raise ValueError(
                "state_dict must not hold means that are on their way, for there is no delay here"
            )

    def _check_whose(self, loaded: StateDict) -> None:
        """Raise ValueError for what only the worker that saved it can go on from."""
        here, saved = self.param_groups[0], loaded["param_groups"][0]
        if saved.get("workers", 1) == 1:
            return  # of one alone, whose walk all go on from
        whose = tuple(saved.get(name, here[name]) for name in ("worker", "workers"))
        if whose == (here["worker"], here["workers"]):
            return
        states, begun = loaded["state"].values(), saved["outer_step"] > 0
        reasons = {
            "amid a walk": any(state.get("active") for state in states),
            "with means on their way": any(state.get("on_way", -1) >= 0 for state in states),
            "with an error feedback": begun and any("unsent" in state for state in states),
            "with an anchor of its own": begun and self._coupling is not None,
        }
        for reason in (text for text, holds in reasons.items() if holds):
            raise ValueError(
                f"state_dict is that of worker {whose[0]} of {whose[1]}, {reason}: worker "
                f"{here['worker']} of {here['workers']} cannot go on from it; save each worker's "
                "under a name of its own, and change their number at the end of a walk"
            )

    def _restore(self, saved: list[State]) -> None:
        super()._restore(saved)
        if self.workers is not None:
            self._flights.clear()
            self._equal = False
            self._set_clock(worker=self.workers.rank, workers=self.workers.size)
        else:
            for group in self.param_groups:
                group.pop("workers", None)

    def __getstate__(self) -> dict[str, Any]:
        if self.workers is not None:
            raise ValueError(
                f"a {type(self).__name__} with a process_group must not be copied or pickled; "
                "its state_dict() may be"
            )
        return super().__getstate__()


def anchors(pairs: Pairs) -> list[Tensor]:
    """x of each."""
    return views(state["anchor"] for _, state in pairs)


def _kinds(params: list[Tensor]) -> list[str]:
    return [
        f"{str(p.dtype).removeprefix('torch.')} of shape {tuple(p.shape)} as number {i}"
        for i, p in enumerate(params)
    ]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _bits(t: Tensor) -> int:
    """The sum of the bits of a tensor, taken as whole numbers."""
    kinds = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    shown = local_real_view(t).contiguous()
    return int(shown.view(kinds[shown.element_size()]).sum()) & 0xFFFFFFFFFFFFFFFF
