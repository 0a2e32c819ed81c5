"""Local walks: every worker walks alone, then the means of their walks are averaged.

At the end of a walk worker i has the pseudo-gradient s_i = x - mu_i. All of them move the anchor,
which is the same everywhere, by the mean of these:

    mu <- x - (s_1 + … + s_n) / n, then lines 7 and 1 of Algorithm 1

With a delay of k steps s_i travels while the next walk has begun, where the worker alone would be;
k steps later the anchor moves, and what was walked meanwhile is added to it:

    at the end of a walk:   a <- x - s_i;   x', mu <- a
    k steps later:          line 7 with mu = x - (s_1 + … + s_n) / n;   x', mu <- x + (x', mu - a)

So the anchor is the same everywhere at any time, as old as k steps, and the first k gradients of a
walk are off by what sets one worker's mean apart from that of all. State of a parameter beside that
of `AnchoredOptimizer`:

    sent      s_i while it travels; only where there is a delay, as the next two
    received  the mean of s, once it is there
    on_way    number of the walk whose mean has not moved the anchor yet, or -1
    unsent    e, what `TopK` keeps back
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT, StateDict

from widevalley.optim._agreement import Agreement, Description
from widevalley.optim._anchored import AnchoredOptimizer, mean_of
from widevalley.optim._base import State
from widevalley.optim._communication import Channel
from widevalley.optim._tensors import copy_, local_real_view
from widevalley.optim._validation import Group
from widevalley.optim.workers import TopK, Workers

Pairs = list[tuple[Tensor, State]]
Flight = tuple[Pairs, Callable[[], None], Callable[[], list[Tensor]]]
"""Whose pseudo-gradients travel, what waits for the agreement and what for the means."""


class LocalWalks(AnchoredOptimizer):
    """An anchored optimizer that may be one of several workers."""

    _entries: ClassVar[tuple[str, ...]] = (
        *AnchoredOptimizer._entries,
        *("sent", "received", "on_way", "unsent"),
    )

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        given = defaults.pop("process_group", None)
        if given is not None:
            settings = given if isinstance(given, Workers) else Workers(given)
            self._check_workers(settings, defaults)
            self.workers = Channel(settings)
            self._agreement, self._flights = Agreement(self.workers), dict[int, Flight]()
            self._equal = False  # whether the anchors are known to be the same everywhere
            defaults["worker"] = self.workers.rank
        super().__init__(params, defaults)

    def _check_workers(self, settings: Workers, defaults: Group) -> None:
        """Raise ValueError where settings do not go together."""
        if settings.delay > defaults["langevin_steps"]:
            raise ValueError(
                f"delay must be at most langevin_steps, {defaults['langevin_steps']}, "
                f"got {settings.delay}"
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

    # --- the end of a walk ------------------------------------------------------------------

    def _meet(self, moving: list[Group], step: int) -> None:
        """After a step of this number, from 1: send what has been walked, take what has arrived."""
        assert self.workers is not None
        settings, steps = self.workers.settings, moving[0]["langevin_steps"]
        for fragment in range(settings.fragments):
            end = -(-(fragment + 1) * steps // settings.fragments)
            late = (step - end - settings.delay) % steps == 0
            if settings.delay and (late or step == end):
                self._land(fragment, moving)
            if step == end:
                self._send(fragment, moving)

    def _send(self, fragment: int, moving: list[Group]) -> None:
        """Average the walks of a fragment's parameters, which end now, or begin to."""
        assert self.workers is not None
        self._ending = self._members(fragment)
        try:
            ended = [pair for group in moving for pair in self._walked(group)]
            described, device = self._description(moving, ended), _device_of(moving)
            step = moving[0]["outer_step"] * moving[0]["langevin_steps"] + moving[0]["inner_step"]
            agreed = self._agreement.ask(described, step + 1, device)
            self._equal = True
            x, mu = _anchors(ended), _views(mean_of(p, state) for p, state in ended)
            s = list(torch._foreach_sub(x, mu)) if x else []
            unsent = _views(state["unsent"] for _, state in ended if "unsent" in state)
            arrived = self.workers.mean(s, unsent)
            if not self.workers.settings.delay:
                agreed()
                _set(mu, x, arrived())
                self._end_walks(moving)
                return
            self._flights[fragment] = ended, agreed, arrived
            _copy(_views(state["sent"] for _, state in ended), s)
            for _, state in ended:
                state["on_way"] = moving[0]["outer_step"]
            before = [t.clone() for t in x]
            _set(x, x, s)
            self._restart_walks(moving)
            _copy(x, before)
        finally:
            self._ending = None

    def _land(self, fragment: int, moving: list[Group]) -> None:
        """Move a fragment's anchors by the means that have travelled, and the walks with them."""
        members = self._members(fragment)
        params = [p for group in moving for p in group["params"] if p in members]
        landing = [(p, self.state[p]) for p in params if self._on_way(p) and p.requires_grad]
        if not landing:
            return
        self._arrive(fragment)
        x, alone = _anchors(landing), _views(state["sent"] for _, state in landing)
        walkers = [state.get("walker", p) for p, state in landing]
        means = [(i, state["mean"]) for i, (_, state) in enumerate(landing) if "mean" in state]
        moved = _views([*walkers, *(mean for _, mean in means)])
        owners = [*range(len(landing)), *(i for i, _ in means)]
        alone = list(torch._foreach_sub(x, alone))
        walked = torch._foreach_sub(moved, [alone[i] for i in owners])
        received = _views(state["received"] for _, state in landing)
        _set(_views(mean_of(p, state) for p, state in landing), x, received)
        now, active = moving[0]["outer_step"], [state["active"] for _, state in landing]
        for _, state in landing:
            state["active"] = True
        self._ending = {p for p, _ in landing}
        self._set_clock(outer_step=landing[0][1]["on_way"])  # of the walk that the means are of
        try:
            self._move_anchors(moving)
            self._read_out(moving)
        finally:
            self._ending = None
            self._set_clock(outer_step=now)
        _copy(moved, [x[i] for i in owners])
        torch._foreach_add_(moved, walked)
        copy_([p for p, _ in landing], walkers)
        for (_, state), was in zip(landing, active, strict=True):
            state.update(active=was, on_way=-1)

    def _arrive(self, fragment: int) -> None:
        """Wait for what is on its way."""
        flight = self._flights.pop(fragment, None)
        if flight is not None:
            pairs, agreed, arrived = flight
            agreed()
            _copy(_views(state["received"] for _, state in pairs), arrived())

    def _on_way(self, p: Tensor) -> bool:
        return bool(self.state.get(p, {}).get("on_way", -1) >= 0)

    def _members(self, fragment: int) -> set[Tensor]:
        """The parameters of a fragment: neighbours, of about as many numbers as another's."""
        assert self.workers is not None
        params = [p for group in self.param_groups for p in group["params"]]
        total, at, members = sum(p.numel() for p in params), 0, set()
        for p in params:
            if at * self.workers.settings.fragments // max(total, 1) == fragment:
                members.add(p)
            at += p.numel()
        return members

    def _description(self, moving: list[Group], ended: Pairs) -> Description:
        """What all workers must have in common to average these walks."""
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = {p: i for i, p in enumerate(params)}
        kept = {"params", "worker", *self._clock}
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
        if not self._equal:
            described["anchors"] = [
                f"bits with the sum {_bits(state['anchor']):x} in parameter {numbers[p]}"
                for p, state in ended
            ]
        return described

    # --- state ------------------------------------------------------------------------------

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
        if "on_way" not in self._sent() and any(
            state.get("on_way", -1) >= 0 for state in loaded["state"].values()
        ):
            raise ValueError(
                "state_dict must not hold means that are on their way, for there is no delay here"
            )

    def _restore(self, saved: list[State]) -> None:
        super()._restore(saved)
        if self.workers is not None:
            self._flights.clear()
            self._equal = False
            self._set_clock(worker=self.workers.rank)

    def __getstate__(self) -> dict[str, Any]:
        if self.workers is not None:
            raise ValueError(
                f"a {type(self).__name__} with a process_group must not be copied or pickled; "
                "its state_dict() may be"
            )
        return super().__getstate__()


def _views(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list(map(local_real_view, tensors))


def _anchors(pairs: Pairs) -> list[Tensor]:
    return _views(state["anchor"] for _, state in pairs)


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)


def _set(targets: list[Tensor], x: list[Tensor], s: list[Tensor]) -> None:
    """targets <- x - s."""
    if targets:
        torch._foreach_copy_(targets, torch._foreach_sub(x, s))


def _device_of(groups: list[Group]) -> torch.device:
    return next((p.device for group in groups for p in group["params"]), torch.device("cpu"))


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
