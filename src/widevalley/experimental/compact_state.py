"""EntropySGD and EntropyAdam that keep less on the device.

Means and buffers are bfloat16, rounded up or down at random so that the expected number is the
exact one; the mean is stored as mu - x, which is small where mu and x are not. Anchors of large
parameters may lie in the host's memory. Around each part of the plain optimizer's step the state of
one parameter at a time is made what that optimizer keeps, and stored again afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from widevalley.optim import EntropyAdam, EntropySGD
from widevalley.optim._checkpoint import State
from widevalley.optim._measures import Point
from widevalley.optim._noise import WORD, indices, step_key, word
from widevalley.optim._tensors import SMALL, element_index, local_real_view
from widevalley.optim._validation import Group, check, switch
from widevalley.optim._walk import How, LangevinWalk, Walkers

BLOCK = 1 << 15
"""Numbers whose bits a processor makes at once: what temporaries there are stay in the cache."""


class _Whole(dict[str, Any]):
    """The state of a parameter as the plain optimizer keeps it."""


class _CompactState(LangevinWalk):
    """A walk of which what is kept between steps is compact."""

    def __init__(
        self,
        *args: Any,
        state_dtype: torch.dtype | None = torch.bfloat16,
        offload_anchor: bool = False,
        **settings: Any,
    ) -> None:
        if state_dtype not in (None, torch.bfloat16):
            raise ValueError(f"state_dtype must be None or torch.bfloat16, got {state_dtype!r}")
        check("offload_anchor", offload_anchor, *switch())
        self._narrow, self._offload = state_dtype is not None, offload_anchor
        super().__init__(*args, **settings)

    def _check_change(self, group: Group) -> None:
        self._check_plain(group)
        super()._check_change(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; one parameter at a time is whole, which these are not made for."""
        self._check_plain(self.defaults | param_group)
        super().add_param_group(param_group)

    def _check_plain(self, group: Group) -> None:
        for name in ("readout", "gradient_point"):
            if group[name] is not None:
                raise ValueError(f"{name} must be None beside compact state, got {group[name]!r}")
        if self.workers is not None:
            raise ValueError("process_group must be None beside compact state")

    def metrics(self) -> dict[str, float]:
        """As `EntropySGD.metrics`, without gain and cosine."""
        found = super().metrics()
        self._succession = None
        return found

    def _square(self, point: Point) -> float:
        total = 0.0
        for group in self.param_groups:
            for p, _ in self._walked(group):
                with self._whole(p, group, writes=False):
                    total += super()._square_of([(p, self.state[p])], point)
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_narrow": self._narrow, "_offload": self._offload}

    def _walk(self, groups: list[Group]) -> None:
        for group in groups:
            for p in group["params"]:
                if p.grad is not None:
                    with self._whole(p, group) as alone:
                        super()._walk([alone])

    def _move_anchors(self, groups: list[Group]) -> None:
        for group in groups:
            for p, _ in self._walked(group):
                # keyed as a step after the last: the inner steps' numbers end below L
                after = {**group, "inner_step": group["langevin_steps"]}
                with self._whole(p, after) as alone:
                    super()._move_anchors([alone])  # type: ignore[safe-super]

    def _restart_walks(self, groups: list[Group]) -> None:
        for group in groups:
            for p, _ in self._walked(group):
                with self._whole(p, group) as alone:
                    super()._restart_walks([alone])

    def _state_of(self, p: Tensor, group: Group) -> State:
        if isinstance(self.state[p], _Whole):
            return super()._state_of(p, group)
        with self._whole(p, group, writes=False):
            super()._state_of(p, group)
        state: State = self.state[p]
        return state

    def _how(self, group: Group) -> How:
        return super()._how(group)._replace(side_by_side=False)

    def _walkers(self, group: Group) -> Walkers:
        return Walkers(self._walking(group), self._how(group), self._first_elements())

    def _check_parameter(self, p: object, group: Group, where: str) -> None:
        super()._check_parameter(p, group, where)
        if self._offload and hasattr(p, "to_local"):
            raise ValueError(
                f"offload_anchor must be False for sharded parameters, got {where} as a DTensor: "
                "let what shards them move them to the host"
            )

    # --- compact between steps, whole amid them ---------------------------------------------

    @contextmanager
    def _whole(self, p: Tensor, group: Group, *, writes: bool = True) -> Iterator[Group]:
        """Hold the parameter's whole state inside the block, and store it after it.

        Gives the group with that parameter alone. Without ``writes``, what the block does not
        replace keeps every bit.
        """
        stored = self.state[p]
        whole = self.state[p] = _Whole(stored)
        for name, t in stored.items():
            if isinstance(t, Tensor):
                whole[name] = t.to(p.device, stored["anchor"].dtype)
        if _is_narrow(stored.get("mean")):
            _add_(whole["mean"], _anchor(p, whole))
        given, anchor = dict(whole), whole.get("anchor")
        version = None if anchor is None else local_real_view(anchor)._version
        try:
            yield {**group, "params": [p]}
        finally:
            self.state[p] = stored
        bits = self._bits(p, group) if self._narrow else torch.empty(0)
        for name, t in whole.items():
            kept, same = stored.get(name), t is given.get(name)
            if name == "anchor" and self._hosts(p):  # torch alone writes it, and counts
                if not same or kept.is_cuda or local_real_view(t)._version != version:
                    stored[name] = t.cpu().pin_memory()
            elif not self._narrows(name, t):
                stored[name] = t
            elif writes or not same or not _is_narrow(kept):
                if name == "mean":
                    _add_(t, _anchor(p, whole), -1)
                if not _is_narrow(kept) or kept.device != t.device:
                    stored[name] = torch.empty_like(t, dtype=torch.bfloat16)
                local_real_view(stored[name]).copy_(rounded(local_real_view(t), bits))
        for name in stored.keys() - whole.keys():
            del stored[name]

    def _narrows(self, name: str, t: Any) -> bool:
        """Whether an entry of the state is to be bfloat16."""
        wide = name in ("anchor", "walker") or not isinstance(t, Tensor) or t.is_complex()
        return self._narrow and not wide

    def _hosts(self, p: Tensor) -> bool:
        """Whether the parameter's anchor is to lie on the host."""
        return self._offload and p.is_cuda and p.numel() >= SMALL

    def _bits(self, p: Tensor, group: Group) -> Tensor:
        """What the parameter's state is rounded by in this step."""
        first, local = self._first_elements()[p], local_real_view(p)
        clock = group["seed"], group["worker"], group["outer_step"], group["inner_step"]
        index, key = element_index(p, first), step_key(*clock, first // WORD)
        if isinstance(index, int):
            index = indices(index, local.numel(), local.device)
        size = BLOCK if local.device.type == "cpu" else max(index.numel(), 1)
        for part in torch.split(index, size):
            part.copy_(rounding_bits(part, key))
        return index.view(local.shape)


def _is_narrow(t: Tensor | None) -> bool:
    return t is not None and t.dtype == torch.bfloat16


def _anchor(p: Tensor, state: State) -> Tensor:
    """x, which the parameter holds where state and parameter are swapped."""
    x: Tensor = p if state["at_anchor"] and "walker" not in state else state["anchor"]
    return x


def _add_(t: Tensor, other: Tensor, factor: float = 1.0) -> None:
    local_real_view(t).add_(local_real_view(other), alpha=factor)


def rounding_bits(index: Tensor, key: Sequence[int]) -> Tensor:
    """16 random bits for each index, the higher ones those that the noise of the key leaves."""
    bits = word(index, key)
    return ((bits & 0xFF) << 8) | ((bits >> 8) & 0xFF)


def rounded(t: Tensor, bits: Tensor) -> Tensor:
    """float32 numbers that bfloat16 holds exactly: either neighbour, the expectation exact."""
    return (t.float().view(torch.int32) + bits).bitwise_and_(-0x10000).view(torch.float32)


# --- the optimizers -----------------------------------------------------------------------------


class CompactEntropySGD(_CompactState, EntropySGD):
    """`EntropySGD` that keeps less on the device, one parameter at a time made whole for a step.

    Args:
        params, lr and all others: as for `EntropySGD`.
        state_dtype: of means and buffers: torch.bfloat16, rounded at random by the noise's keys,
            or None for that of the anchor. Complex parameters keep the anchor's.
        offload_anchor: keep the anchors of parameters of 2^15 numbers or more that lie on a GPU
            in pinned host memory; not for sharded ones.

    Raises:
        ValueError: a setting out of its range, or sharded parameters with ``offload_anchor``.
    """


class CompactEntropyAdam(_CompactState, EntropyAdam):
    """`EntropyAdam` that keeps less on the device, with the options of `CompactEntropySGD`."""
