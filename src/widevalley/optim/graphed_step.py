"""A gradient and its Langevin step as one CUDA graph, for networks too small to keep a GPU busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widevalley.optim._langevin_walk import LangevinWalk
from widevalley.optim._packs import Plan
from widevalley.optim._slots import Slots

REHEARSALS = 3
"""Ordinary steps before a capture: what is compiled, chosen or allocated once is so then."""

Work = Callable[[], Tensor]
Inputs = tuple[Tensor, ...]
Variant = list[tuple[Plan, bool, bool, bool]]
"""Of each group: who takes its steps, and which of noise, momentum and rate are not 0."""


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


@dataclass(frozen=True)
class _Captured:
    graph: CudaGraph
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
    step is told lies in the device's memory and is written anew before each. Inputs of another
    shape, as the last batch of an epoch, take an ordinary step. After a change of what a step
    consists of (a group's lr becomes or leaves 0, noise or momentum appears, a state is loaded) it
    is captured anew.

    CUDA graphs ask for their own: nothing in ``compute`` may wait for the device or branch on what
    is there, and parameters stay where they are in memory.

    Args:
        optimizer: EntropySGD or EntropyAdam. On a GPU its step must be the kernel's (``fused`` not
            False, no ``langevin_betas``, no ``offload_anchor``).
        compute: maps a batch, which is moved to the parameters' device, to its loss, and leaves the
            gradients in the parameters.

    Raises:
        ValueError: another optimizer, parameters on several devices, or on a GPU a step that is
            not the kernel's.
    """

    _captured: _Captured | None

    def __init__(self, optimizer: LangevinWalk, compute: Callable[..., Tensor]) -> None:
        if not isinstance(optimizer, LangevinWalk):
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
            _check_kernel(optimizer)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Spend one gradient on one step; returns the loss before it.

        Raises ValueError on a GPU where the step of some parameter is not the kernel's: one that is
        alone of its dtype and a single number, or that does not lie densely in memory.
        """
        if self._captured and not self._still(self._captured):
            self._restart()
        if self._graph is None:
            return self._ordinary(inputs)
        if self._rehearsed < REHEARSALS:
            return self._graph.rehearse(lambda: self._rehearsal(inputs))
        if self._captured is None:
            self._captured = self._capture(self._graph, inputs)
        if any(map(_differ, self._captured.inputs, inputs)):
            return self._ordinary(inputs)
        return self._repeated(self._captured, inputs)

    def _still(self, captured: _Captured) -> bool:
        """Whether a step is still what was captured, numbers apart."""
        for p, gradient in captured.gradients:  # whatever was done to p.grad meanwhile
            p.grad = gradient
        return captured.variant == _variant(self._optimizer)

    def _restart(self) -> None:
        self._graph, self._slots, self._rehearsed = graph_for(self._device), Slots(), 0
        self._captured = None

    def _ordinary(self, inputs: Inputs) -> Tensor:
        self._optimizer.zero_grad()
        loss = self._compute(*(t.to(self._device, non_blocking=True) for t in inputs))
        self._optimizer.step()
        return loss.detach()

    def _rehearsal(self, inputs: Inputs) -> Tensor:
        self._rehearsed += 1
        if self._rehearsed < REHEARSALS:
            return self._ordinary(inputs)
        with _telling(self._optimizer, self._slots):
            loss = self._ordinary(inputs)
        self._slots.fix(self._device)
        return loss

    def _capture(self, graph: CudaGraph, inputs: Inputs) -> _Captured:
        optimizer, held = self._optimizer, tuple(t.to(self._device, copy=True) for t in inputs)
        optimizer.zero_grad()

        def work() -> Tensor:
            loss = self._compute(*held)
            with _telling(optimizer, self._slots), torch.no_grad():
                optimizer._walk(optimizer._moving())
            return loss.detach()

        loss = graph.record(work)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [(p, p.grad) for p in params if p.grad is not None]
        return _Captured(graph, held, loss, gradients, _variant(optimizer))

    def _repeated(self, captured: _Captured, inputs: Inputs) -> Tensor:
        optimizer = self._optimizer
        optimizer._check()
        for held, given in zip(captured.inputs, inputs, strict=True):
            held.copy_(given, non_blocking=True)
        self._slots.fill()
        captured.graph.replay()
        with torch.no_grad():
            if moving := optimizer._moving():
                optimizer._tick(moving)
        return captured.loss.clone()


def _differ(one: Tensor, other: Tensor) -> bool:
    return one.shape != other.shape or one.dtype != other.dtype


def _variant(optimizer: LangevinWalk) -> Variant:
    """What a step consists of apart from numbers, of parameters that take it as they did before."""
    return [
        (
            optimizer._plan(group),
            bool(group["noise"]),
            bool(group["langevin_momentum"]),
            bool(group["langevin_lr"]),
        )
        for group in optimizer._moving()
    ]


@contextmanager
def _telling(optimizer: LangevinWalk, slots: Slots) -> Iterator[None]:
    """Let the optimizer's kernels take what they are told from slots."""
    optimizer._slots = slots
    try:
        yield
    finally:
        optimizer._slots = None


def _check_kernel(optimizer: LangevinWalk) -> None:
    for g, group in enumerate(optimizer.param_groups):
        if optimizer._implementation(group) != "fused" or group["offload_anchor"]:
            raise ValueError(
                f"optimizer: the step of group {g} must be the kernel's to be captured: "
                "fused=True or None, no langevin_betas, offload_anchor=False"
            )
