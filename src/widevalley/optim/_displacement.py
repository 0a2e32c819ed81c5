"""From the walker to where the gradient is taken, and back.

The state of a parameter holds the number of the gradient for which it is ``displaced``, or -1. What
was added is made anew from that number to take it off, after a restart, too; of small parameters,
which go side by side, it is kept meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._nn import flatten_dense_tensors, unflatten_dense_tensors
from torch.nn.utils import get_total_norm

from widevalley.optim._algorithm import Langevin, Points
from widevalley.optim._base import State, parameters_of
from widevalley.optim._held import hold
from widevalley.optim._kernel import available, fused_step_
from widevalley.optim._noise import WORD, indices, noise, step_key
from widevalley.optim._tensors import copy_, element_index, is_small, local_real_view, shards
from widevalley.optim._validation import Group
from widevalley.optim.gradient_point import GradientPoint, Part

if TYPE_CHECKING:
    from widevalley.optim._anchored import AnchoredOptimizer

Members = list[tuple[Tensor, State]]

BESIDE = 1 << 20
"""Added to the number of a block of elements, so that this noise is not the walk's."""
KERNEL_PAYS = 1 << 12
"""Numbers of noise that a processor's kernel makes faster than the lines do."""


class Displacement:
    """What displaces the parameters of an optimizer from their walkers."""

    def __init__(self, optimizer: AnchoredOptimizer) -> None:
        self.optimizer = optimizer
        self._points: dict[int, GradientPoint] = {}
        self._pairs: dict[int, Members] = {}
        self._parts: dict[int, tuple[list[Tensor], list[DisplacedPart]]] = {}
        self._norm: Tensor | None = None

    def add(self, groups: list[Group]) -> None:
        """Move the parameters of these groups to where the next gradient is taken."""
        self._norm = None
        for group in groups:
            point = group["gradient_point"]
            if point is None:
                self._points.pop(id(group), None)
                continue
            self._points[id(group)] = point
            members, stays = self._walking(group), getattr(point, "stays", False)
            keep(members, kept=getattr(point, "keeps", False))
            if stays:  # without a gradient there is no step, and it would go on and on
                members = [(p, state) for p, state in members if p.grad is not None]
            count = group["outer_step"] * group["langevin_steps"] + group["inner_step"]
            for part in self._side_by_side(group, members):
                part.add(point, group, count, stays=stays)
            for _, state in members:
                state["displaced"] = -1 if stays else count

    def take_off(self, groups: list[Group]) -> None:
        """Move the parameters of these groups back to their walkers."""
        self._norm = None
        for group in groups:
            copied, moved = [], defaultdict(list)
            for p, state in self._walking(group):
                if state["displaced"] < 0:
                    continue
                walker = state.get("walker", state.get("kept"))
                if walker is not None:
                    copied.append((p, walker))
                elif not state["active"] and state.get("on_way", -1) < 0:  # it is at its anchor
                    copied.append((p, state["anchor"]))
                else:
                    moved[state["displaced"]].append((p, state))
                state["displaced"] = -1
            copy_([p for p, _ in copied], [walker for _, walker in copied])
            for count, members in moved.items():
                for part in self._side_by_side(group, members):
                    part.take_off(self._point(group), group, count)

    @contextmanager
    def taken_off(self, groups: list[Group]) -> Iterator[None]:
        """Hold the walkers inside the block."""
        members = [(p, state, group) for group in groups for p, state in self._walking(group)]
        displaced = [(*member, member[1]["displaced"]) for member in members]
        self.take_off(groups)
        yield
        for p, state, group, count in displaced:
            state["displaced"] = count
            if count >= 0:
                self.show_again(p, group)

    def show_again(self, p: Tensor, group: Group) -> None:
        """Displace a parameter that shows its walker as it was displaced."""
        self._norm, state = None, self.optimizer.state[p]
        DisplacedPart([(p, state)], self).add(self._point(group), group, state["displaced"])

    def momentum_norm(self) -> Tensor:
        """Over all parameters, whether they move or not, so that it is the same on the way back."""
        if self._norm is None:
            every = map(self.optimizer.momentum_of, parameters_of(self.optimizer))
            momenta = [v for v in every if v is not None]
            shards = [v for v in momenta if hasattr(v, "full_tensor")]
            wholes = [v for v in momenta if not hasattr(v, "full_tensor")]
            norms = [get_total_norm(some) for some in (shards, wholes) if some]
            whole = [n.full_tensor() if hasattr(n, "full_tensor") else n for n in norms]
            self._norm = torch.linalg.vector_norm(torch.stack(whole))
        return self._norm

    def _point(self, group: Group) -> GradientPoint:
        """What displaced the group: another, maybe, than shall from now on."""
        point: GradientPoint | None = self._points.get(id(group), group["gradient_point"])
        if point is None:
            raise ValueError("gradient_point must be that with which the state was saved, got None")
        return point

    def _walking(self, group: Group) -> Members:
        """The parameters of a group that have a walker, which they hold."""
        pairs, params = self._pairs.get(id(group), []), group["params"]
        known = [p for p, _ in pairs]
        if len(known) != len(params) or not all(map(is_, known, params)):
            states = self.optimizer.state
            pairs = self._pairs[id(group)] = [(p, states[p]) for p in params if p in states]
        walking = [(p, s) for p, s in pairs if p.requires_grad and s["initialized"]]
        for p, state in walking:
            if state["at_anchor"]:  # frozen while it held the anchor, and no longer
                hold(p, state, anchor=False)
        return walking

    def _side_by_side(self, group: Group, members: Members) -> list[DisplacedPart]:
        """Small parameters together, the others each on its own."""
        anchors, known = [state["anchor"] for _, state in members], self._parts.get(id(group))
        if known and len(known[0]) == len(anchors) and all(map(is_, known[0], anchors)):
            return known[1]
        first = self.optimizer._first_elements()
        together = defaultdict(list)
        for p, state in members:
            alone = None if is_small(p) else id(p)
            together[p.dtype, p.device, first[p] // WORD, alone].append((p, state))
        parts = [DisplacedPart(some, self) for some in together.values()]
        self._parts[id(group)] = anchors, parts
        return parts


def keep(members: Members, *, kept: bool) -> None:
    """Keep the walkers that the parameters hold, or no longer."""
    lone = [(p, state) for p, state in members if "walker" not in state]
    if kept:
        for _, state in lone:
            if "kept" not in state:
                state["kept"] = torch.empty_like(state["anchor"])
        copy_([state["kept"] for _, state in lone], [p for p, _ in lone])
    else:
        for _, state in lone:
            state.pop("kept", None)


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
        p, along = self._params[0], tuple(range(1, t.dim())) or (0,)
        if not self._axes_that_cut(along):
            return t.mean(along, keepdim=True)
        sums = self._over_shards(t.sum(along, keepdim=True), along, dist.ReduceOp.SUM)
        return sums.div_(p.numel() // (p.shape[0] if p.dim() > 1 else 1))

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
