"""Steps repeated from a capture, on a tape that does for a processor what a CUDA graph does.

The tape notes every operation of the work with the very tensors it reads and writes, undoes it, and
repeats it on the same memory: what the work was told by Python then stays as it was at the capture.
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from widevalley import EntropyAdam, EntropySGD, LocalEntropy
from widevalley.experimental import CompactEntropySGD, GraphedStep, graphed_step
from widevalley.gradient_point import Smoothing
from widevalley.optim import _kernel_cpu, _kernel_gpu

TAPES = []


class Tape(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations = []
        TAPES.append(self)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        before = [(t, t.clone()) for t in given]  # batch norm writes what its schema only reads
        made = operation(*args, **kwargs)
        self.operations.append((operation, args, kwargs, made, before))
        return made

    def rehearse(self, work):
        return work()

    def record(self, work):
        with self:
            outcome = work()
        with torch.no_grad():
            for *_, before in reversed(self.operations):
                for t, value in before:
                    t.copy_(value)
        return outcome

    @torch.no_grad()
    def replay(self):
        for operation, args, kwargs, made, _ in self.operations:
            for kept, new in zip(tree_leaves(made), tree_leaves(operation(*args, **kwargs))):
                if isinstance(kept, torch.Tensor) and kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


@pytest.fixture
def tapes(monkeypatch):
    """Graphs that are tapes, and kernels whose operations a tape sees."""
    TAPES.clear()
    monkeypatch.setattr(graphed_step, "graph_for", lambda device: Tape())
    monkeypatch.setattr(_kernel_cpu, "step_", _kernel_gpu.step_)
    monkeypatch.setattr(_kernel_gpu, "_compiled", lambda *variant: _kernel_gpu._step)
    return TAPES


def made(build=EntropySGD, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 40), nn.BatchNorm1d(40), nn.Tanh(), nn.Linear(40, 1000))
    optimizer = build(
        [{"params": model[0].parameters()}, {"params": list(model.parameters())[2:]}],
        **{"langevin_steps": 3, "noise": 0.01, "gamma": 0.1, "gamma_growth": 0.5, "fused": True}
        | settings,
    )

    def compute(x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return model, optimizer, compute


def batches(count, size=6):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(size, 4, generator=generator, device="cpu")
        y = torch.randint(1000, (size,), generator=generator, device="cpu")
        yield tuple(t.to(torch.get_default_device()) for t in (x, y))


def by_hand(count, change, **settings):
    model, optimizer, compute = made(**settings)
    losses = []
    for k, (x, y) in enumerate(batches(count)):
        change(k, optimizer)
        optimizer.zero_grad()
        losses.append(compute(x, y).detach())
        optimizer.step()
    return model, optimizer, losses


def by_graph(count, change, **settings):
    model, optimizer, compute = made(**settings)
    step = GraphedStep(optimizer, compute)
    losses = []
    for k, (x, y) in enumerate(batches(count)):
        change(k, optimizer)
        losses.append(step(x, y))
    return model, optimizer, losses


def agree(one, other):
    (model, optimizer, losses), (model2, optimizer2, losses2) = one, other
    torch.testing.assert_close(losses, losses2)
    torch.testing.assert_close(model.state_dict(), model2.state_dict())
    state, state2 = optimizer.state_dict(), optimizer2.state_dict()
    torch.testing.assert_close(state["state"], state2["state"])
    assert state["param_groups"] == state2["param_groups"]


def schedules(k, optimizer):
    for group in optimizer.param_groups:
        group["lr"], group["langevin_lr"] = 1 / (1 + 0.1 * k), 0.1 / (1 + k)
        group["noise"] = 0.01 * (1 + k)


@pytest.mark.parametrize("kind", [{}, {"build": EntropyAdam}, {"momentum": 0.5}], ids=str)
def test_repeats_are_steps(tapes, kind):
    """Over several walks, with rates, scope and noise that change at every step."""
    agree(by_hand(14, schedules, **kind), by_graph(14, schedules, **kind))
    assert sum(bool(tape.operations) for tape in tapes) == 1


def test_a_tape_that_is_told_nothing_would_be_caught(tapes, monkeypatch):
    """The tape keeps what Python told the work at its capture, so the test above can fail."""
    monkeypatch.setattr(graphed_step.ToldWalk, "_place", lambda walk, *kernel: walk._told(*kernel))
    with pytest.raises(AssertionError):
        agree(by_hand(14, schedules), by_graph(14, schedules))


def stops(k, optimizer):
    optimizer.param_groups[1]["lr"] = 0.0 if 5 <= k < 9 else 1.0


def falls_silent(k, optimizer):
    for group in optimizer.param_groups:
        group["noise"] = 0.0 if k < 6 else 0.01


def loads(k, optimizer):
    if k == 7:
        optimizer.load_state_dict(optimizer.state_dict())


def looks(k, optimizer):
    optimizer.zero_grad()
    with optimizer.at_anchor():
        pass


@pytest.mark.parametrize(
    ("change", "captures"), [(stops, 3), (falls_silent, 2), (loads, 2), (looks, 1)]
)
def test_what_a_step_consists_of_may_change(tapes, change, captures):
    agree(by_hand(16, change), by_graph(16, change))
    assert sum(bool(tape.operations) for tape in tapes) == captures


def test_a_batch_of_another_size_takes_an_ordinary_step(tapes):
    model, optimizer, compute = made()
    step = GraphedStep(optimizer, compute)
    sizes = [6, 6, 6, 6, 6, 3, 6, 6]
    for (x, y), size in zip(batches(8), sizes):
        step(x[:size], y[:size])
    model2, optimizer2, compute = made()
    for (x, y), size in zip(batches(8), sizes):
        optimizer2.zero_grad()
        compute(x[:size], y[:size])
        optimizer2.step()
    agree((model, optimizer, []), (model2, optimizer2, []))


def test_without_a_gpu_it_is_the_ordinary_step():
    agree(by_hand(8, schedules, fused=False), by_graph(8, schedules, fused=False))


def test_losses_are_kept(tapes):
    """Each is its own tensor, though the graph has one place for all."""
    _, _, losses = by_graph(8, schedules)
    assert len({float(loss) for loss in losses}) == 8


def test_misuse_is_named(tapes):
    model, optimizer, compute = made(fused=False)
    with pytest.raises(ValueError, match="group 0 must be the kernel's to be captured"):
        GraphedStep(optimizer, compute)
    inner, outer = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in "io")
    with pytest.raises(ValueError, match="must be EntropySGD or EntropyAdam, got LocalEntropy"):
        GraphedStep(LocalEntropy(inner, outer), compute)
    with pytest.raises(ValueError, match="EntropyAdam, got CompactEntropySGD"):
        GraphedStep(CompactEntropySGD(model.parameters()), compute)
    spread = [nn.Parameter(torch.zeros(2, device=device)) for device in ("cpu", "meta")]
    with pytest.raises(ValueError, match="on one device, got cpu, meta"):
        GraphedStep(EntropySGD(spread, fused=False), compute)


def test_what_the_kernel_cannot_step_is_not_captured(tapes):
    p = nn.Parameter(torch.ones(1 << 15))

    def compute(x):
        p.grad = x.expand(p.shape)
        return p.sum()

    step = GraphedStep(EntropySGD([p], fused=True), compute)
    for _ in range(graphed_step.REHEARSALS):
        step(torch.ones(1))
    with pytest.raises(ValueError, match=r"shape \(32768,\) takes a step that is not the kernel's"):
        step(torch.ones(1))


def test_the_anchor_is_not_trained_on(tapes):
    model, optimizer, compute = made()
    step = GraphedStep(optimizer, compute)
    *first, last = batches(6)
    for x, y in first:
        step(x, y)
    optimizer.eval()
    anchor = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match="call train"):
        step(*last)
    assert all(torch.equal(p, x) for p, x in zip(model.parameters(), anchor, strict=True))


@pytest.mark.cuda
@pytest.mark.parametrize("kind", [{}, {"build": EntropyAdam}], ids=str)
def test_a_real_graph(kind):
    def on_gpu(run):
        torch.set_default_device("cuda")
        try:
            return run(14, schedules, **kind)
        finally:
            torch.set_default_device("cpu")

    agree(on_gpu(by_hand), on_gpu(by_graph))


def test_with_a_gradient_point_every_step_is_an_ordinary_one(tapes):
    point = {"gradient_point": Smoothing(0.5)}
    agree(by_hand(8, schedules, **point), by_graph(8, schedules, **point))
    assert not any(tape.operations for tape in tapes)
