"""Means over the workers of a process group: flat, in buckets, asynchronous, counted."""

import ctypes
import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from widevalley.optim.workers.settings import BFloat16, TopK, Workers

GRACE = timedelta(seconds=3)
"""For the words of the other workers, where something went wrong."""
_number = itertools.count()


class Channel:
    """The connection to the other workers; ``optimizer.workers`` is one.

    Attributes:
        rank: the worker that this process belongs to.
        size: how many there are.
        bytes_sent: by this process to others so far, as rings send: of an all-reduce of S bytes
            among n workers 2 S (n - 1) / n, of an all-gather S (n - 1). The weights that all are
            given at the beginning are not counted.
    """

    def __init__(self, workers: Workers) -> None:
        self.settings, self.group = workers, _group_of(workers.group)
        self.rank, self.size, self.bytes_sent = self.group.rank(), self.group.size(), 0
        self._on_host = "nccl" not in dist.get_backend(self.group)
        self._key = f"widevalley/{next(_number)}"

    def start_equal(self, tensors: Sequence[Tensor]) -> None:
        """Give every worker the tensors of the first one."""
        first = dist.get_global_rank(self.group, 0)
        for work in [dist.broadcast(t, first, self.group, async_op=True) for t in tensors]:
            self._wait(work)

    def gather(
        self, numbers: list[int], device: torch.device
    ) -> Callable[[], list[tuple[int, ...]]]:
        """Start to ask every worker for its numbers; what is returned waits for the answers."""
        answers, work = self._all_gather(torch.tensor(numbers, device=device))

        def arrived() -> list[tuple[int, ...]]:
            self._wait(work)
            return [tuple(answer.tolist()) for answer in answers]

        return arrived

    def mean(
        self, tensors: Sequence[Tensor], kept: Sequence[Tensor] = ()
    ) -> Callable[[], list[Tensor]]:
        """Start to average tensors over the workers; what is returned waits for the means.

        They travel side by side in float32, or float64 where they are, in buckets that do not heed
        where a tensor ends. ``kept`` is what `TopK` has not sent of each so far, and is changed.
        """
        alike = defaultdict(list)
        for i, t in enumerate(tensors):
            alike[torch.promote_types(t.dtype, torch.float32), t.device].append(i)
        means = [torch.empty_like(t) for t in tensors]
        sent = []
        for (dtype, _), members in alike.items():
            flat = _flat([tensors[i] for i in members], dtype)
            error = _flat([kept[i] for i in members], dtype) if kept else torch.zeros_like(flat)
            size = max(int(self.settings.bucket * 2**20) // dtype.itemsize, 1)
            buckets = zip(torch.split(flat, size), torch.split(error, size), strict=True)
            waits = [self._send(part, rest) for part, rest in buckets if part.numel()]
            _spread(error, [kept[i] for i in members] if kept else [])
            sent.append((flat, waits, [means[i] for i in members]))

        def arrived() -> list[Tensor]:
            for flat, waits, targets in sent:
                for wait in waits:
                    wait()
                _spread(flat, targets)
            return means

        return arrived

    def mean_numbers(self, numbers: list[float], device: torch.device) -> list[float]:
        """The means of a few numbers over the workers, as they are, whatever is compressed else."""
        wire = torch.tensor(numbers, dtype=torch.float64, device=device)
        self.bytes_sent += 2 * wire.nbytes * (self.size - 1) // self.size
        self._wait(dist.all_reduce(wire, group=self.group, async_op=True))
        return [float(number) / self.size for number in wire]

    def _send(self, part: Tensor, rest: Tensor) -> Callable[[], None]:
        """Start to average a bucket in place; what is returned waits for that."""
        compression = self.settings.compression
        if compression is None or isinstance(compression, BFloat16):
            wire = part if compression is None else part.to(torch.bfloat16)
            self.bytes_sent += 2 * wire.nbytes * (self.size - 1) // self.size
            work = dist.all_reduce(wire, group=self.group, async_op=True)

            def reduced() -> None:
                self._wait(work)
                if wire is not part:
                    part.copy_(wire)
                part.div_(self.size)

            return reduced

        if isinstance(compression, TopK):
            part.copy_(rest.mul_(compression.decay).add_(part))
        payload = compression.encode(part.float())
        if isinstance(compression, TopK):
            rest.sub_(compression.decode(payload, part.numel()))
        answers, work = self._all_gather(payload)

        def gathered() -> None:
            self._wait(work)
            part.zero_()
            for answer in answers:  # in one order everywhere, so that the means are the same
                part.add_(compression.decode(answer, part.numel()))
            part.div_(self.size)

        return gathered

    def _all_gather(self, mine: Tensor) -> tuple[list[Tensor], Any]:
        self.bytes_sent += mine.nbytes * (self.size - 1)
        answers = [torch.empty_like(mine) for _ in range(self.size)]
        return answers, dist.all_gather(answers, mine, self.group, async_op=True)

    # --- where another worker does not come -------------------------------------------------

    def _wait(self, work: Any) -> None:
        """Wait for what has been started.

        Raises:
            RuntimeError: another worker is gone or has not come in time; the message names it.
        """
        begun, pause, asked = time.monotonic(), 1e-5, 0.0
        # by looking, for gloo's own wait cannot be told that another worker has given up
        while self._on_host and not work.is_completed():
            time.sleep(pause)
            pause, waited = min(2 * pause, 1e-3), time.monotonic() - begun
            if waited > (self.settings.timeout or float("inf")):
                raise self._lost(f"within {self.settings.timeout:g} s")
            if waited > asked + 0.5:
                asked = waited
                if self._store().check([f"{self._key}/lost"]):
                    raise self._lost("any more")
        try:
            work.wait()
        except RuntimeError as error:
            raise self._lost("any more") from error

    def _lost(self, when: str) -> RuntimeError:
        """What to raise, with the names of those who do not say that they are there."""
        self._give_up()
        try:
            self._store().set(f"{self._key}/lost", "")
            answers = self.ask("lost", "here")
            gone = [str(i) for i, answer in enumerate(answers) if answer is None]
        except RuntimeError:  # the store is gone with the process that kept it
            gone = []
        who = f"worker {' and '.join(gone)}" if gone else "another worker"
        return RuntimeError(
            f"{who} of {self.size} did not answer {when}: it has ended, failed or run out of data; "
            "start all workers again from their last checkpoints"
        )

    def ask(self, about: str, words: str) -> list[str | None]:
        """The words of every worker on a matter that all of them have come upon, in text."""
        self._give_up()
        store, key = self._store(), f"{self._key}/{about}"
        store.set(f"{key}/{self.rank}", words)
        answers: list[str | None] = []
        end = time.monotonic() + GRACE.total_seconds()
        for other in range(self.size):
            try:
                left = timedelta(seconds=max(end - time.monotonic(), 0.01))
                store.wait([f"{key}/{other}"], left)
                answers.append(store.get(f"{key}/{other}").decode())
            except RuntimeError:
                answers.append(None)
        return answers

    def _give_up(self) -> None:
        """Let this process end, though it has begun to send what nobody will receive.

        gloo's destructor waits for that until the timeout of the group, half an hour as a rule;
        a group that is referred to for ever is not destroyed.
        """
        if self._on_host:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.group))

    def _store(self) -> Any:
        return self.group.get_group_store()


def connect(workers: Workers) -> Channel:
    """The connection that a group stands for: processes, or replicas in one."""
    within = getattr(workers.group, "connect", None)
    channel: Channel = Channel(workers) if within is None else within(workers)
    return channel


def _group_of(given: Any) -> Any:
    """The process group that is meant.

    Raises:
        ValueError: it is none, or a mesh of more than one dimension.
    """
    if hasattr(given, "get_group") and hasattr(given, "ndim"):
        if given.ndim != 1:
            raise ValueError(
                "process_group must be a mesh of one dimension, that of the workers, as "
                f"mesh['workers'], got one of {given.ndim}"
            )
        given = given.get_group()
    if not dist.is_available() or not isinstance(given, dist.ProcessGroup):
        raise ValueError(
            f"process_group must be a process group, a DeviceMesh, Workers or None, got {given!r}"
        )
    return given


def _flat(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.cat([t.reshape(-1).to(dtype) for t in tensors])


def _spread(flat: Tensor, targets: Sequence[Tensor]) -> None:
    """Copy what `_flat` put side by side into tensors of the same sizes."""
    pieces = torch.split(flat, [t.numel() for t in targets]) if targets else ()
    for piece, target in zip(pieces, targets, strict=True):
        target.copy_(piece.view(target.shape))
