"""Replicas of a small network in one process: one batched gradient for all of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from widevalley.optim._validation import check, positive, whole
from widevalley.optim.workers._communication import Channel
from widevalley.optim.workers._replicas import Replicas
from widevalley.optim.workers.settings import Coupling, Workers


class BatchedReplicas:
    """Replicas as of a process group with a `Coupling`, but in one process and on one device.

    ::

        replicas = BatchedReplicas(
            model, 4, lambda params, **group: EntropySGD(params, langevin_steps=25, **group),
            coupling=Coupling(0.01, scoping.TotalGrowth(1e3, updates)),
        )
        for inputs, targets in loader:          # replicas first: 4 x batch x …
            losses = replicas.step(loss, inputs, targets)
        with replicas.at_centre(), recompute_batch_norm(model, loader):
            evaluate(model)

    The parameters of all replicas lie in one tensor each, of which those of ``model`` are the
    first; `torch.func.vmap` takes their gradients at once, and each has an optimizer of its own, in
    ``optimizers``. The same numbers as from as many processes, to the rounding of batched products.

    Args:
        model: the module all replicas start as. Its buffers (batch norm's) are one set a replica;
            it shows the first one's.
        count: of replicas, >= 1.
        build: makes an optimizer of parameters and the keyword ``process_group``.
        coupling: see `Coupling`.

    Raises:
        ValueError: ``count`` is out of range, or build does not make an optimizer with an anchor.
    """

    def __init__(
        self,
        model: nn.Module,
        count: int,
        build: Callable[..., Replicas],
        coupling: Coupling,
    ) -> None:
        check("count", count, *whole(1))
        self.model, self.optimizers = model, list[Replicas]()
        own = dict(model.named_parameters())
        self._params = {k: _stacked(p.detach(), count) for k, p in own.items()}
        self._buffers = {k: _stacked(b, count) for k, b in model.named_buffers()}
        for name, buffer in model.named_buffers():
            buffer.data = self._buffers[name][0]
        self._replicas = [own]
        for k, p in own.items():
            p.data = self._params[k][0]
        for i in range(1, count):
            parts = {k: nn.Parameter(t[i], own[k].requires_grad) for k, t in self._params.items()}
            self._replicas.append(parts)
        table = Table(count)
        for rank, parts in enumerate(self._replicas):
            workers = Workers(cast("Any", table.seat(rank)), coupling=coupling)
            optimizer = build(list(parts.values()), process_group=workers)
            if not isinstance(optimizer, Replicas) or optimizer.workers is None:
                raise ValueError(
                    "build must make an optimizer with an anchor and hand process_group on, "
                    f"got {optimizer!r}"
                )
            self.optimizers.append(optimizer)

    def step(self, loss: Callable[..., Tensor], inputs: Tensor, *others: Tensor) -> Tensor:
        """Take a step of every replica, each on its slice of the batch; return their losses.

        ``loss(model(inputs), *others)`` is a replica's loss; the tensors have one row a replica.
        """
        wanted = {k for k, p in self._replicas[0].items() if p.requires_grad}
        moving = {k: t for k, t in self._params.items() if k in wanted}
        fixed = {k: t for k, t in self._params.items() if k not in wanted} | self._buffers

        def of_one(
            params: dict[str, Tensor], rest: dict[str, Tensor], x: Tensor, *more: Tensor
        ) -> Tensor:
            return loss(functional_call(self.model, {**params, **rest}, (x,)), *more)

        batched = vmap(grad_and_value(of_one), randomness="different")
        gradients, losses = batched(moving, fixed, inputs, *others)
        for i, (parts, optimizer) in enumerate(zip(self._replicas, self.optimizers, strict=True)):
            for name, p in parts.items():
                p.requires_grad_(name in wanted)  # what the model has frozen is so everywhere
                p.grad = gradients[name][i] if name in wanted else None
            optimizer.step()
        result: Tensor = losses
        return result.detach()

    @torch.no_grad()
    def automatic_scope(self, losses: Tensor) -> float:
        """Set the scope of all replicas from what `step` returned, amid the first walk; return it.

        See `automatic_scope` of the optimizers, which is of many processes.
        """
        loss = _mean_loss(losses)
        squares = [optimizer._walked_square() for optimizer in self.optimizers]
        square = sum(squares) / len(squares)
        (gamma,) = {optimizer._set_scope(loss, square) for optimizer in self.optimizers}
        return gamma

    @torch.no_grad()
    def automatic_coupling(self, losses: Tensor) -> float:
        """Set the coupling of all replicas from what `step` returned, and return it.

        See `automatic_coupling` of the optimizers, which is of many processes.

        Raises:
            ValueError: a loss is not above 0, or the anchors are not apart.
        """
        loss = _mean_loss(losses)
        distances = [optimizer._distance_from_centre() for optimizer in self.optimizers]
        distance = sum(distances) / len(distances)
        (coupling,) = {optimizer._couple(loss, distance) for optimizer in self.optimizers}
        return coupling

    @contextmanager
    def at_centre(self) -> Iterator[None]:
        """Let the model hold the mean of all anchors inside the block; evaluate and save here."""
        with self.optimizers[0].at_average():
            yield

    def state_dict(self) -> dict[str, Any]:
        """All replicas: their parameters and buffers, and the state of their optimizers."""
        tensors = {k: t.clone() for k, t in (self._params | self._buffers).items()}
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"replicas": tensors, "optimizers": states}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, bit for bit.

        Raises:
            ValueError: it is of another number of replicas or another model.
        """
        if not {"replicas", "optimizers"} <= state_dict.keys():
            raise ValueError("state_dict must be that of BatchedReplicas")
        ours, theirs = self._params | self._buffers, state_dict["replicas"]
        shapes = ({k: tuple(t.shape) for k, t in tensors.items()} for tensors in (ours, theirs))
        if next(shapes) != next(shapes):
            raise ValueError("state_dict must be that of as many replicas of the same model")
        for name, tensor in ours.items():
            tensor.copy_(theirs[name])
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)


class Table:
    """Where the replicas of one process lay down what they would send."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rounds: dict[int, dict[int, list[Tensor]]] = {}

    def seat(self, rank: int) -> "Seat":
        """The place of a replica, in the place of a process group."""
        return Seat(self, rank)


class Seat:
    """A replica's place at a table."""

    def __init__(self, table: Table, rank: int) -> None:
        self.table, self.rank = table, rank
        self.size = table.size

    def connect(self, workers: Workers) -> Channel:
        """The connection of the replica to the others."""
        return _Within(workers, self)


class _Within(Channel):
    """A connection within a process: nothing is sent, all are known to be alike."""

    def __init__(self, workers: Workers, seat: Seat) -> None:
        self.settings, self.rank, self.size, self.bytes_sent = workers, seat.rank, seat.size, 0
        self._table, self._round = seat.table, 0

    def start_equal(self, tensors: Sequence[Tensor]) -> None:
        """They are."""

    def gather(
        self, numbers: list[int], device: torch.device
    ) -> Callable[[], list[tuple[int, ...]]]:
        """All have the numbers of one."""
        return lambda: [tuple(numbers)]

    def mean_numbers(self, numbers: list[float], device: torch.device) -> list[float]:
        """Of replicas that are asked one by one there are none yet."""
        raise ValueError("replicas in one process are asked together, by BatchedReplicas")

    def mean(
        self, tensors: Sequence[Tensor], kept: Sequence[Tensor] = ()
    ) -> Callable[[], list[Tensor]]:
        """Lay tensors down; what is returned averages them once all replicas have."""
        rounds, now = self._table.rounds, self._round
        self._round += 1
        rounds.pop(now - 2, None)  # everyone has had it who has come to this one
        laid = rounds.setdefault(now, {})
        laid[self.rank] = [t.clone() for t in tensors]

        def arrived() -> list[Tensor]:
            if len(laid) < self.size:
                raise RuntimeError("every replica must take a step before one takes the next")
            return [sum(own).div_(self.size) for own in zip(*laid.values(), strict=True)]

        return arrived


def _mean_loss(losses: Tensor) -> float:
    """The mean over replicas; ValueError where one is not above 0."""
    for loss in losses.tolist():
        check("loss", loss, *positive())
    return float(losses.mean())


def _stacked(t: Tensor, count: int) -> Tensor:
    return torch.stack([t.clone() for _ in range(count)])
