"""Processes that train one run together: which one this is, and what they tell each other.

`widevalley train --workers N` and torchrun start them alike, with torch's variables of the
environment. The first alone reads and writes the run's folder, evaluates and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # not in __all__
from torch.distributed.rendezvous import rendezvous

from widevalley.training.folder import Record, RunFolder

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""How long the others wait for the first, which evaluates; who has died ends them at once."""


RUN_ID = "widevalley"
"""What torch's launcher calls the workers of `widevalley train --workers`."""


class FirstFailed(Exception):
    """The first worker has failed, and says so itself."""


class WorkerFailed(RuntimeError):
    """A worker other than the first has failed, or one was killed; the message names it."""


def launched_here() -> bool:
    """Whether `widevalley train --workers` started this process, and speaks of its errors."""
    return os.environ.get("TORCHELASTIC_RUN_ID") == RUN_ID


def started() -> int:
    """How many processes were started together, this one among them; 1 where it is alone."""
    return int(os.environ["WORLD_SIZE"]) if "RANK" in os.environ else 1


@dataclass(frozen=True)
class Workers:
    """The processes of one run; without arguments this process alone."""

    rank: int = 0
    count: int = 1
    _parent: int = field(default_factory=os.getppid)

    @classmethod
    def join(cls, count: int) -> Workers:
        """Meet the others, once in a process.

        Raises ValueError where not `count` of them were started.
        """
        if count != started():
            raise ValueError(
                f"workers={count}: must be {started()}, the processes there are; "
                f"widevalley train --workers {count} starts as many, or torchrun"
            )
        if count == 1:
            return cls()
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            store, rank, _ = next(rendezvous("env://", timeout=PATIENCE))
            # torchrun keeps its store when it restarts, and in it where the last ones listened
            store = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=count, timeout=PATIENCE
            )
        return cls(dist.get_rank(), count)

    @property
    def orphaned(self) -> bool:
        """Whether who started this process has gone."""
        return self.count > 1 and os.getppid() != self._parent

    def folder(self, folder: RunFolder) -> RunFolder:
        """The folder for the first worker, and for the others one that nothing is written to."""
        return folder if self.rank == 0 else Unwritten(folder.path)

    def first(self, do: Callable[[], T]) -> T:
        """What `do` returns on the first worker; FirstFailed on the others where it raises."""
        if self.count == 1:
            return do()
        said: list[Any] = [None]
        if self.rank == 0:
            try:
                said = [(do(),)]
            finally:
                dist.broadcast_object_list(said)
        else:
            dist.broadcast_object_list(said)
        if said[0] is None:
            raise FirstFailed
        value: T = said[0][0]
        return value

    def gathered(self, state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        """The first worker's state with what the others have of their `own` in it."""
        parts: list[Any] | None = [None] * self.count if self.rank == 0 else None
        dist.gather_object(own, parts)
        return state | {"others": parts[1:]} if parts else state

    def own(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Each worker's part of what was gathered; the first's, where there were fewer."""
        if self.count == 1:
            return respread(state, 1)[0] if state else None
        parts = respread(state, self.count) if state else [None] * self.count
        mine: list[Any] = [None]
        dist.scatter_object_list(mine, parts if self.rank == 0 else None)
        part: dict[str, Any] | None = mine[0]
        return part

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag whether any worker has it."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return raised.bool().tolist()

    def mean(self, value: float) -> float:
        """The mean over workers."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total) / self.count

    def average_gradients(self, params: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over workers, in one all-reduce."""
        gradients = [p.grad for p in params if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        parts = torch.split(flat.div_(self.count), [g.numel() for g in gradients])
        for g, part in zip(gradients, parts, strict=True):
            g.copy_(part.view_as(g))


def respread(state: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A checkpoint of any number of workers as the states of `count`.

    What is carried from batch to batch has a column for each of a batch, every n-th a worker's.
    """
    states = [state, *(state | part for part in state.pop("others", []))]
    there = len(states)
    if there == count:
        return states
    carried = []
    for parts in zip(*(each.get("carried", ()) for each in states), strict=True):
        whole = torch.cat(parts, 1)
        for k, part in enumerate(parts):
            whole[:, k::there] = part
        carried.append(whole)
    more = states + [state] * max(0, count - there)
    return [
        more[k] | {"carried": tuple(whole[:, k::count].contiguous() for whole in carried)}
        for k in range(count)
    ]


class Unwritten(RunFolder):
    """A run's folder that is another process's to write to."""

    def record_divergence(self, gradients: int) -> None:
        """Nothing."""

    def note_memory(self, peak_bytes: int) -> None:
        """Nothing."""

    def append(self, record: Record) -> None:
        """Nothing."""

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def resume(self) -> dict[str, Any] | None:
        """Nothing: the first worker hands it out."""
        return None
