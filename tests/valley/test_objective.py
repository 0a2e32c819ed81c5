"""The mean loss over a loader: weights of batches, what is left untouched, what is refused."""

import pytest
import torch
from torch import nn

from widevalley.valley import Hessian, Objective

from .cases import CASES, every_case, made


@every_case
def test_value_and_gradient_are_those_of_one_large_batch(case):
    module, loss, batches = made(case)
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    objective = Objective(module, loss, batches)
    whole = Objective(module, loss, [(inputs, targets)])
    assert len(objective.batches) == 3
    assert objective.value() == pytest.approx(whole.value(), rel=1e-12)
    torch.testing.assert_close(objective.gradient(), whole.gradient())


def test_the_callers_module_is_left_alone_and_leaves_this_alone():
    module, loss, batches = made(CASES[2])
    module.train()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    objective = Objective(module, loss, batches, dtype=torch.float32, batch_norm="batch")
    value = objective.value()
    objective.gradient()
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    assert all(layer.training for layer in module.modules())
    assert all(p.grad is None for p in module.parameters())
    with torch.no_grad():
        module[0].weight.zero_()
    assert objective.value() == value


@every_case
def test_flat_and_back(case):
    module, loss, batches = made(case)
    objective = Objective(module, loss, batches)
    vector = torch.randn(objective.size, dtype=objective.dtype)
    assert torch.equal(objective.flatten(objective.unflatten(vector)), vector)
    block = torch.randn(objective.size, 3, dtype=objective.dtype)
    assert torch.equal(objective.flatten(objective.unflatten(block), columns=1), block)


def test_shared_weights_count_once_and_frozen_ones_not_at_all():
    module, loss, batches = made(CASES[3])
    objective = Objective(module, loss, batches)
    assert list(objective.weights) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert objective.size == 16 + 4 + 12 + 3


def test_arguments_in_a_tuple():
    class Sum(nn.Linear):
        def forward(self, a, b):
            return super().forward(a + b)

    a, b, y = torch.randn(5, 3), torch.randn(5, 3), torch.randint(2, (5,))
    objective = Objective(Sum(3, 2), nn.CrossEntropyLoss(), [((a, b), y)])
    assert objective.value() > 0


def batches_of(case):
    return made(case)[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": []}, "batches: there is none"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"loss: must be .* not shape \(4,\)"),
        ({"batch_norm": "eval"}, "batch_norm='eval': must be 'running' or 'batch'"),
        ({"loss": None}, "loss: must be given, for the module's outputs, a Tensor, hold none"),
        ({"loss": "cross-entropy"}, "loss='cross-entropy': must be a function of outputs and"),
        ({"module": nn.Identity()}, "module: none of its parameters requires a gradient"),
    ],
)
def test_bad_input(change, message):
    module, loss, batches = made(CASES[0])
    arguments = {"module": module, "loss": loss, "batches": batches} | change
    with pytest.raises(ValueError, match=message):
        Objective(**arguments)


def test_a_module_is_no_objective():
    with pytest.raises(ValueError, match="must be Objective.module, loss, batches., not a Linear"):
        Hessian(nn.Linear(2, 2))
