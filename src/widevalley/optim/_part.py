"""Parameters that are displaced together, and what a gradient point may ask of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._nn import flatten_dense_tensors, unflatten_dense_tensors

from widevalley.optim._algorithm import Langevin, Points
from widevalley.optim._checkpoint import State
from widevalley.optim._kernel import available, fused_step_
from widevalley.optim._noise import WORD, indices, noise, step_key
from widevalley.optim._tensors import element_index, local_real_view, shards
from widevalley.optim._validation import Group
from widevalley.optim.gradient_point import GradientPoint, Part

if TYPE_CHECKING:
    from widevalley.optim._displacement import Displacement

Members = list[tuple[Tensor, State]]

BESIDE = 1 << 20
"""Added to the number of a block of elements, so that this noise is not the walk's."""
KERNEL_PAYS = 1 << 12
"""Numbers of noise that a processor's kernel makes faster than the lines do."""


class DisplacedPart(Part):
    """Parameters that are displaced together: one, or small ones side by side in flat tensors."""

    def __init__(self, members: Members, displacement: Displacement) -> None:
        self._params = [p for p, _ in members]
        self._states = [state for _, state in members]
        self._displacement = displacement
        first = displacement.optimizer._first_elements()
        p, *others = self._params
        self._block, self._index = first[p] // WORD, element_index(p, first[p])
        self._rows: Tensor | None = None
        self._room: Tensor | None = None
        self._views: list[Tensor] = []
        self._kept: tuple[GradientPoint, int] | None = None
        self._shown = self._params if others else [local_real_view(p)]
        if others:
            self._index = torch.cat([indices(first[q], q.numel(), q.device) for q in self._params])
            rows = [q.shape[0] if q.dim() > 1 else 1 for q in self._params]
            sizes = [q.numel() // n for q, n in zip(self._params, rows, strict=True)]
            self._rows = torch.tensor(sizes).repeat_interleave(torch.tensor(rows)).to(p.device)
            matrices = [torch.full((q.numel(),), q.dim() > 1) for q in self._params]
            self._matrices = torch.cat(matrices).to(p.device)

    def add(self, point: GradientPoint, group: Group, count: int, *, stays: bool = False) -> None:
        """Move the parameters; where the point ``stays``, the walkers kept beside them, too."""
        self._kept = None
        added = self._added(point, group, count)
        if added is None:
            return
        if "walker" not in self._states[0]:
            torch._foreach_add_(self._shown, added)
            return
        walkers = [local_real_view(state["walker"]) for state in self._states]
        if stays:
            torch._foreach_add_(walkers, added)
        torch._foreach_copy_(self._shown, walkers if stays else torch._foreach_add(walkers, added))

    def take_off(self, point: GradientPoint, group: Group, count: int) -> None:
        """Undo `add`."""
        added = self._added(point, group, count)
        if added is not None:
            torch._foreach_sub_(self._shown, added)

    def _added(self, point: GradientPoint, group: Group, count: int) -> list[Tensor] | None:
        """What the point adds to each of the parameters for the gradient of this number."""
        if self._kept == (point, count):
            return self._views
        self.count, self._group = count, group
        added = point(self)
        if added is None or self._rows is None:
            return None if added is None else [added]
        if self._room is None:
            self._room = torch.empty_like(added)
            self._views = list(unflatten_dense_tensors(self._room, self._params))
        self._room.copy_(added)
        self._kept = point, count
        return self._views

    # --- what a point may ask for -----------------------------------------------------------

    def anchor(self) -> Tensor:
        """x."""
        return self._gather([state["anchor"] for state in self._states])

    def walker(self) -> Tensor:
        """x', which the parameters hold."""
        pairs = zip(self._params, self._states, strict=True)
        return self._gather([state.get("walker", p) for p, state in pairs])

    def average(self) -> Tensor:
        """The read-out."""
        if "average" not in self._states[0]:
            raise ValueError(f"gradient_point {self._group['gradient_point']!r} needs a readout")
        return self._gather([state["average"] for state in self._states])

    def momentum(self) -> Tensor | None:
        """The momentum, 0 where a parameter has none yet."""
        momenta = list(map(self._displacement.optimizer.momentum_of, self._params))
        if all(v is None for v in momenta):
            if self._group.get("reset_inner"):
                return None
            raise ValueError(
                "gradient_point needs the momentum of the walk: langevin_momentum > 0, or an inner "
                "optimizer whose state holds momentum_buffer or exp_avg"
            )
        pairs = zip(momenta, self._params, strict=True)
        return self._gather([torch.zeros_like(p) if v is None else v for v, p in pairs])

    def momentum_norm(self) -> Tensor:
        """Of all parameters."""
        return self._displacement.momentum_norm().to(self._params[0].device)

    def noise(self, law: str = "gaussian") -> Tensor:
        """Numbers of the step's key, none of which the walk draws."""
        seed, worker = self._group["seed"], self._group["worker"]
        key = step_key(seed, worker, self.count, 0, BESIDE + self._block)
        like = local_real_view(self._states[0]["anchor"])
        size = like.shape if self._rows is None else (sum(p.numel() for p in self._params),)
        made = torch.zeros(size, dtype=like.dtype, device=self._shown[0].device)
        many = not made.is_cpu or made.numel() >= KERNEL_PAYS
        if many and self._group.get("fused") is not False and available(made.device):
            points = Points(made, torch.zeros_like(made), made, None, None, self._index)
            unit = Langevin(lr=1.0, gamma=0.0, noise_std=1.0, law=law)
            if fused_step_(points, unit, key, must=None):
                return made
        return noise(made, key, self._index, law)

    def row_means(self, t: Tensor) -> Tensor:
        """Of rows and filters of one dimension less."""
        if self._rows is not None:
            return self._of_rows(t, "mean")
        p = self._params[0]  # complex numbers are pairs in t, of one dimension more
        along = tuple(range(1 if p.dim() > 1 else 0, t.dim()))
        if not self._axes_that_cut(along):
            return t.mean(along, keepdim=True) if along else t
        sums = self._over_shards(t.sum(along, keepdim=True), along, dist.ReduceOp.SUM)
        numbers = 2 * p.numel() if p.is_complex() else p.numel()
        return sums.div_(numbers // (p.shape[0] if p.dim() > 1 else 1))

    def row_maxima(self, t: Tensor) -> Tensor:
        """Likewise, of t >= 0."""
        if self._rows is not None:
            return self._of_rows(t, "max").mul_(self._matrices)
        if self._params[0].dim() < 2:
            return torch.zeros_like(t)
        along = tuple(range(1, t.dim()))
        largest = t.amax(along, keepdim=True) if t.numel() else t.sum(along, keepdim=True)
        return self._over_shards(largest, along, dist.ReduceOp.MAX)

    def _of_rows(self, t: Tensor, what: str) -> Tensor:
        assert self._rows is not None
        found = torch.segment_reduce(t, what, lengths=self._rows, axis=0, unsafe=True)
        return found.repeat_interleave(self._rows)

    def _axes_that_cut(self, along: tuple[int, ...]) -> list[int]:
        """The axes of a device mesh over which rows are cut, of which a process holds parts."""
        return [axis for axis, shard in shards(self._params[0]) if shard.dim in along]

    def _over_shards(
        self, t: Tensor, along: tuple[int, ...], op: dist.ReduceOp.RedOpType
    ) -> Tensor:
        for axis in self._axes_that_cut(along):
            mesh = self._params[0].device_mesh  # type: ignore[attr-defined]
            dist.all_reduce(t, op, group=mesh.get_group(axis))
        return t

    def _gather(self, tensors: list[Tensor]) -> Tensor:
        if self._rows is None:
            return local_real_view(tensors[0])
        return flatten_dense_tensors(tensors)
