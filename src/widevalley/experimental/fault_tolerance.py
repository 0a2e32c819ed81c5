"""Local walks on torchft's manager: a lost worker does not stop the others."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from widevalley.optim.workers import Workers
from widevalley.optim.workers._communication import Channel, _flat, _spread


class Managed:
    """A `torchft.Manager` as ``process_group``: those who are there at the end of a walk go on.

    ::

        manager = Manager(ProcessGroupGloo(), None, None, min_replica_size=1, …)
        optimizer = EntropySGD(model.parameters(), process_group=Managed(manager, worker=3))

    At the end of a walk the manager asks its lighthouse who is there, the pseudo-gradients of these
    are averaged, and where one is lost meanwhile the others ask and send again. Gradients are lost
    with a worker, the walks of the others are not.

    Args:
        manager: with one rank a replica group.
        worker: number of this worker, >= 0: of its noise, and of none of the others.

    A worker that has missed a walk's end is told so by RuntimeError and goes on from a checkpoint
    of another, when all start again. Delay, fragments, compression and coupling are refused.
    """

    def __init__(self, manager: Any, worker: int) -> None:
        self.manager, self.worker = manager, worker

    def connect(self, workers: Workers) -> Channel:
        """The connection to whoever is there."""
        if workers != Workers(workers.group, bucket=workers.bucket):
            raise ValueError("process_group must be Managed(…) alone, or Workers with no more")
        return _Quorum(workers, self)


class _Quorum(Channel):
    """A connection whose size is that of the manager's last quorum."""

    def __init__(self, workers: Workers, managed: Managed) -> None:
        self.settings, self.rank, self.size, self.bytes_sent = workers, managed.worker, 1, 0
        self._manager = managed.manager

    def start_equal(self, tensors: Sequence[Tensor]) -> None:
        """Give every worker the tensors of the first one, as a sum in which all others have 0."""
        first = self._manager.participating_rank() == 0
        sent = [t if first else torch.zeros_like(t) for t in tensors]
        for t, mean in zip(tensors, self.mean(sent)(), strict=True):
            t.copy_(mean * self.size)

    def gather(
        self, numbers: list[int], device: torch.device
    ) -> Callable[[], list[tuple[int, ...]]]:
        """Ask who is there; the numbers of this worker and the mean of all, which differ or not."""
        self._ask()
        mean = torch.tensor(numbers, device=device, dtype=torch.float64)
        work = self._manager.allreduce(mean)

        def arrived() -> list[tuple[int, ...]]:
            work.wait()
            # what an error has left there means nothing; the means will be sent again
            return [tuple(numbers)] + ([] if self._manager.errored() else [tuple(mean.tolist())])

        return arrived

    def mean(
        self, tensors: Sequence[Tensor], kept: Sequence[Tensor] = ()
    ) -> Callable[[], list[Tensor]]:
        """Average tensors over those who are there; again where one of them is lost meanwhile."""
        dtype = torch.float32
        for t in tensors:
            dtype = torch.promote_types(dtype, t.dtype)

        def send() -> tuple[Tensor, Any]:
            flat = _flat(tensors, dtype)
            self.bytes_sent += 2 * flat.nbytes * (self.size - 1) // self.size
            return flat, self._manager.allreduce(flat)

        flat, work = send()

        def arrived() -> list[Tensor]:
            nonlocal flat, work
            work.wait()
            while not self._manager.should_commit():
                self._ask()
                flat, work = send()
                work.wait()
            means = [torch.empty_like(t) for t in tensors]
            _spread(flat, means)
            return means

        return arrived

    def mean_numbers(self, numbers: list[float], device: torch.device) -> list[float]:
        """The means of a few numbers, of those who are there."""
        wire = torch.tensor(numbers, dtype=torch.float64, device=device)
        means: list[float] = self.mean([wire])()[0].tolist()
        return means

    def ask(self, about: str, words: str) -> list[str | None]:
        """Nothing: there is no store that all workers would know."""
        return []

    def _ask(self) -> None:
        self._manager.start_quorum(allow_heal=False)
        self._manager.wait_quorum()
        if not self._manager.is_participating():
            raise RuntimeError(
                f"worker {self.rank} is behind the others, which have gone on without it: start "
                "all workers again from a checkpoint of one of them"
            )
        self.size = self._manager.num_participants()
