"""Curvature operators against matrices formed by plain loops over torch.autograd.grad."""

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from widevalley.valley import EmpiricalFisher, GaussNewton, Hessian, Objective

from .cases import CASES, every_case, made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on import: uses torch.jit
    import curvlinops


def trained(module):
    return [p for p in module.parameters() if p.requires_grad]


def flat_grad(scalar, parameters, **kwargs):
    grads = torch.autograd.grad(scalar, parameters, **kwargs, materialize_grads=True)
    return torch.cat([g.flatten() for g in grads])


def mean_loss(module, loss, batches):
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.backends.mkldnn.flags(enabled=False):
        return loss(module.eval()(inputs), targets)


def by_double_backward(module, loss, batches):
    parameters = trained(module)
    slope = flat_grad(mean_loss(module, loss, batches), parameters, create_graph=True)
    return torch.stack([flat_grad(s, parameters, retain_graph=True) for s in slope])


def by_samples(module, loss, batches):
    """The mean of g g^T, sample by sample."""
    parameters, total, samples = trained(module), 0, 0
    for inputs, targets in batches:
        for x, y in zip(inputs, targets, strict=True):
            g = flat_grad(mean_loss(module, loss, [(x[None], y[None])]), parameters)
            total, samples = total + torch.outer(g, g), samples + 1
    return total / samples


def by_jacobians(module, loss, batches):
    """The mean of J^T H J, sample by sample."""
    parameters, total, samples = trained(module), 0, 0
    for inputs, targets in batches:
        for x, y in zip(inputs, targets, strict=True):
            with torch.backends.mkldnn.flags(enabled=False):
                said = module.eval()(x[None])
            rows = [flat_grad(o, parameters, retain_graph=True) for o in said.flatten()]
            jacobian = torch.stack(rows)
            curved = torch.func.hessian(loss)(said.detach(), y[None])
            side = said.numel()
            total = total + jacobian.T @ curved.reshape(side, side) @ jacobian
            samples += 1
    return total / samples


ORACLES = [
    (Hessian, by_double_backward),
    (GaussNewton, by_jacobians),
    (EmpiricalFisher, by_samples),
]


def identity(operator):
    return torch.eye(operator.size, dtype=operator.dtype)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@every_case
@pytest.mark.parametrize(("kind", "oracle"), ORACLES, ids=lambda part: part.__name__)
def test_products(case, kind, oracle):
    module, loss, batches = made(case)
    operator = kind(Objective(module, loss, batches))
    matrix = oracle(module, loss, batches)
    torch.testing.assert_close(operator @ identity(operator), matrix, rtol=1e-9, atol=1e-11)
    v = torch.randn(operator.size, dtype=torch.float64)
    torch.testing.assert_close(operator @ v, matrix @ v, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("kind", "peer"),
    [
        (Hessian, curvlinops.HessianLinearOperator),
        (GaussNewton, curvlinops.GGNLinearOperator),
        (EmpiricalFisher, curvlinops.EFLinearOperator),
    ],
    ids=lambda part: part.__name__,
)
@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case.name)
def test_a_peer_agrees(case, kind, peer):
    module, loss, batches = made(case)
    operator = kind(Objective(module, loss, batches))
    theirs = peer(module.eval(), loss, trained(module), batches, check_deterministic=False)
    expected = theirs @ identity(operator)
    torch.testing.assert_close(operator @ identity(operator), expected, rtol=1e-8, atol=1e-10)


def central_differences(objective, step=1e-5):
    at, slope = objective.flat_weights, objective.gradient_at
    rows = [slope(at + step * e) - slope(at - step * e) for e in torch.eye(len(at)).to(at)]
    return torch.stack(rows) / (2 * step)


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_through_batch_norm_finite_differences_agree(batch_norm):
    """Two of torch.func's three compositions are wrong here by 1e-3 to 1e-2 (torch 2.13)."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    batch = torch.randn(8, 4, dtype=torch.float64), torch.randint(3, (8,))
    objective = Objective(module, nn.CrossEntropyLoss(), [batch], batch_norm=batch_norm)
    operator = Hessian(objective)
    found = operator @ identity(operator)
    torch.testing.assert_close(found, central_differences(objective), rtol=0, atol=1e-6)


def test_float32_products_are_close():
    module, loss, batches = made(CASES[0])
    exact = Hessian(Objective(module, loss, batches))
    rough = Hessian(Objective(module, loss, batches, dtype=torch.float32))
    assert rough.dtype == torch.float32
    v = torch.randn(exact.size, dtype=torch.float64)
    torch.testing.assert_close((rough @ v.float()).double(), exact @ v, rtol=1e-4, atol=1e-6)


def test_memory_order_changes_nothing():
    """vmap has no derivatives of max-pooling in channels_last (torch 2.13)."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3))
    x, y = torch.randn(5, 2, 4, 4), torch.randint(3, (5,))
    plain = Hessian(Objective(module, nn.CrossEntropyLoss(), [(x, y)], dtype=torch.float64))
    moved = module.to(memory_format=torch.channels_last)
    batch = x.contiguous(memory_format=torch.channels_last), y
    operator = Hessian(Objective(moved, nn.CrossEntropyLoss(), [batch], dtype=torch.float64))
    torch.testing.assert_close(operator @ identity(plain), plain @ identity(plain))


class Sometimes(nn.Module):
    """Uses its offset only where the inputs bring none, as a learned initial state."""

    def __init__(self):
        super().__init__()
        self.layer, self.offset = nn.Linear(3, 3), nn.Parameter(torch.randn(3))
        self.idle = nn.Linear(2, 5)

    def forward(self, x, *offset):
        return self.layer(torch.tanh(x + (offset[0] if offset else self.offset)))


@pytest.mark.parametrize("kind", [Hessian, GaussNewton, EmpiricalFisher])
def test_columns_where_a_batch_leaves_weights_out(kind):
    """vmap with out_dims=-1 gives them shapes read from elsewhere (torch 2.13)."""
    torch.manual_seed(0)
    x, offset, y = torch.randn(4, 3), torch.randn(4, 3), torch.randint(3, (4,))
    batches = [(x, y), ((x, offset), y)]
    objective = Objective(Sometimes(), nn.CrossEntropyLoss(), batches, dtype=torch.float64)
    operator = kind(objective)
    found = operator @ identity(operator)
    expected = torch.stack([operator @ e for e in identity(operator)], dim=1)
    torch.testing.assert_close(found, expected)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        return functional.dropout(self.layer(x), 0.5)


def test_what_is_not_repeatable_is_refused():
    case = replace(CASES[0], build=Noisy)
    module, loss, batches = made(case)
    with pytest.raises(ValueError, match=r"must be the same at each call \(functional dropout\?\)"):
        Hessian(Objective(module, loss, batches))
