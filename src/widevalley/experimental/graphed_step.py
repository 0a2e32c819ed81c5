"""A gradient and its Langevin step as one CUDA graph, for networks too small to keep a GPU busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widevalley.optim import _kernel_gpu
from widevalley.optim._algorithm import Points
from widevalley.optim._kernel import available, kernel_arguments
from widevalley.optim._noise import step_key
from widevalley.optim._validation import Group
from widevalley.optim._walk import LangevinWalk, Walkers

REHEARSALS = 3
"""Ordinary steps before a capture: what is compiled, chosen or allocated once is so then."""
ROW = 112
"""Bytes of a kernel's arguments at most: four int32 and twelve float64."""

Work = Callable[[], Tensor]
Inputs = tuple[Tensor, ...]
Variant = list[tuple[Walkers, str | None, bool]]
"""Of each group: who takes its steps, the law of its noise if there is any, and whether a pull."""


class CudaGraph:
    """What a piece of work does on the device, recorded once and repeated."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._graph = device, torch.cuda.CUDAGraph()

    def rehearse(self, work: Work) -> Tensor:
        """Do the work on a stream of its own, as it will be recorded."""
        aside: Any = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream(self._device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            done = work()
        here.wait_stream(aside)
        return done

    def record(self, work: Work) -> Tensor:
        """Record the work without doing it; returns where its outcome will be."""
        with torch.cuda.graph(self._graph):
            return work()

    def replay(self) -> None:
        """Do what was recorded, on the memory it was recorded with."""
        self._graph.replay()


def graph_for(device: torch.device) -> CudaGraph | None:
    """A graph to record in, None where the device has none."""
    return CudaGraph(device) if device.type == "cuda" else None


class ToldWalk:
    """The optimizer's walk, by kernels that read keys and rates from the device's memory.

    A graph repeats its kernels with the arguments they were captured with, so what changes from
    step to step lies in memory of the device that `tell` writes to before each.
    """

    def __init__(self, optimizer: LangevinWalk, device: torch.device) -> None:
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        self._optimizer = optimizer
        self._memory = torch.zeros(count * ROW, dtype=torch.uint8, device=device)
        self._kernels: list[tuple[Group, Points]] = []
        self._taken = 0

    def __call__(self, groups: list[Group]) -> None:
        """Take the step, as `LangevinWalk._walk` does; ValueError where it is not the kernel's."""
        for group in groups:
            s = self._optimizer._settings(group)
            for part in self._optimizer._walkers(group).parts:
                w = part.points()
                points = w.walker, w.gradient, w.anchor if s.gamma else None, w.mean, w.buffer
                if not all(t is None or t.is_contiguous() for t in points):
                    raise ValueError(
                        f"a parameter of shape {tuple(w.walker.shape)} takes a step that is not "
                        "the kernel's, which cannot be captured"
                    )
                law = s.law if s.noise_std else None
                index = w.index if law and isinstance(w.index, Tensor) else None
                if w.walker.numel():
                    _kernel_gpu.step_(points, index, law, *self._place(group, w))
                if w.params:
                    torch._foreach_copy_(w.params, w.views)

    def tell(self) -> None:
        """Write the arguments of the kernels of the step that comes; the host waits for nothing."""
        if self._kernels:
            rows = torch.cat([_bytes(t) for kernel in self._kernels for t in self._told(*kernel)])
            self._memory[: self._taken].copy_(rows, non_blocking=True)

    def _place(self, group: Group, w: Points) -> list[Tensor]:
        """Where a kernel finds its arguments."""
        self._kernels.append((group, w))
        places = []
        for t in self._told(group, w):
            end = self._taken + t.nbytes
            places.append(self._memory[self._taken : end].view(t.dtype))
            self._taken = end
        return places

    def _told(self, group: Group, w: Points) -> tuple[Tensor, Tensor]:
        clock = group["seed"], group["worker"], group["outer_step"], group["inner_step"]
        return kernel_arguments(w, self._optimizer._settings(group), step_key(*clock, w.block))


def _bytes(t: Tensor) -> Tensor:
    return t.view(torch.uint8)


@dataclass(frozen=True)
class _Captured:
    graph: CudaGraph
    walk: ToldWalk
    inputs: Inputs
    loss: Tensor
    gradients: list[tuple[Tensor, Tensor]]
    variant: Variant


class GraphedStep:
    """Forward, backward and the walk's step in one launch; the anchor's, every L-th, after it.

    ::

        def compute(x, y):
            loss = criterion(model(x), y)
            loss.backward()
            return loss

        step = GraphedStep(optimizer, compute)
        for x, y in loader:
            loss = step(x, y)

    A call does what ``optimizer.zero_grad(); compute(x, y); optimizer.step()`` does, with the same
    noise. Off a GPU it is just that, and so are the first three calls; the fourth captures a graph,
    which those after it repeat. lr, gamma and all schedules may change from step to step: what a
    step is given lies in the device's memory and is written anew before each. Inputs of another
    shape, as the last batch of an epoch, take an ordinary step. After a change of what a step
    consists of (a group's lr becomes or leaves 0, noise or momentum appears, a state is loaded) it
    is captured anew. With a gradient point every step is an ordinary one.

    CUDA graphs ask for their own: nothing in ``compute`` may wait for the device or branch on what
    is there, and parameters stay where they are in memory.

    Args:
        optimizer: EntropySGD or EntropyAdam. On a GPU its step must be the kernel's (``fused`` not
            False, no ``langevin_betas``).
        compute: maps a batch, which is moved to the parameters' device, to its loss, and leaves the
            gradients in the parameters.

    Raises:
        ValueError: another optimizer, parameters on several devices, or on a GPU a step that is
            not the kernel's.
    """

    _captured: _Captured | None

    def __init__(self, optimizer: LangevinWalk, compute: Callable[..., Tensor]) -> None:
        if getattr(type(optimizer), "_walk", None) is not LangevinWalk._walk:
            raise ValueError(
                f"optimizer must be EntropySGD or EntropyAdam, got {type(optimizer).__name__}"
            )
        devices = {p.device for group in optimizer.param_groups for p in group["params"]}
        if len(devices) > 1:
            told = ", ".join(sorted(map(str, devices)))
            raise ValueError(f"optimizer must have its parameters on one device, got {told}")
        (self._device,) = devices
        self._optimizer, self._compute = optimizer, compute
        self._restart()
        if self._graph:
            self._check_kernel()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Spend one gradient on one step; returns the loss before it.

        Raises ValueError on a GPU where some gradient does not lie densely in memory.
        """
        if self._captured and not self._still(self._captured):
            self._restart()
        displaced = any(g["gradient_point"] is not None for g in self._optimizer.param_groups)
        if self._graph is None or displaced:
            return self._ordinary(inputs)
        if self._rehearsed < REHEARSALS:
            self._rehearsed += 1
            return self._graph.rehearse(lambda: self._ordinary(inputs))
        if self._captured is None:
            self._captured = self._capture(self._graph, inputs)
        if any(map(_differ, self._captured.inputs, inputs)):
            return self._ordinary(inputs)
        return self._repeated(self._captured, inputs)

    def _restart(self) -> None:
        self._graph, self._rehearsed, self._captured = graph_for(self._device), 0, None

    def _still(self, captured: _Captured) -> bool:
        """Whether a step is still what was captured, numbers apart."""
        for p, gradient in captured.gradients:  # whatever was done to p.grad meanwhile
            p.grad = gradient
        if self._optimizer.param_groups[0]["at_anchor"]:
            return True  # nothing joins now: the step is going to be refused
        return captured.variant == self._variant()

    @torch.no_grad()
    def _variant(self) -> Variant:
        """What a step consists of apart from numbers."""
        variant, optimizer = [], self._optimizer
        for group in optimizer._moving():
            s = optimizer._settings(group)
            law = s.law if s.noise_std else None
            variant.append((optimizer._walkers(group), law, bool(s.gamma)))
        return variant

    def _ordinary(self, inputs: Inputs) -> Tensor:
        self._optimizer.zero_grad()
        loss = self._compute(*(t.to(self._device, non_blocking=True) for t in inputs))
        self._optimizer.step()
        return loss.detach()

    def _capture(self, graph: CudaGraph, inputs: Inputs) -> _Captured:
        optimizer, held = self._optimizer, tuple(t.to(self._device, copy=True) for t in inputs)
        walk = ToldWalk(optimizer, self._device)
        optimizer.zero_grad()

        def work() -> Tensor:
            loss = self._compute(*held)
            with torch.no_grad():
                walk(optimizer._moving())
            return loss.detach()

        loss = graph.record(work)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [(p, p.grad) for p in params if p.grad is not None]
        return _Captured(graph, walk, held, loss, gradients, self._variant())

    def _repeated(self, captured: _Captured, inputs: Inputs) -> Tensor:
        def replay(_: list[Group]) -> None:
            for held, given in zip(captured.inputs, inputs, strict=True):
                held.copy_(given, non_blocking=True)
            captured.walk.tell()
            captured.graph.replay()

        with _walking_by(self._optimizer, replay):
            self._optimizer.step()
        return captured.loss.clone()

    def _check_kernel(self) -> None:
        for g, group in enumerate(self._optimizer.param_groups):
            if self._optimizer._how(group).fused is False or not available(self._device):
                raise ValueError(
                    f"optimizer: the step of group {g} must be the kernel's to be captured: "
                    "fused=True or None, no langevin_betas"
                )


@contextmanager
def _walking_by(optimizer: LangevinWalk, walk: Callable[[list[Group]], None]) -> Iterator[None]:
    """Let the optimizer's step walk by another function."""
    vars(optimizer)["_walk"] = walk
    try:
        yield
    finally:
        del vars(optimizer)["_walk"]


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or one.dtype != other.dtype
