"""The Fisher diagonal against sample by sample gradients, and the faults of Adam's shortcut."""

import copy

import pytest
import torch
from torch import nn

from widevalley.valley import EmpiricalFisher, Objective
from widevalley.valley.hessian import fisher_diagonal, fisher_diagonal_of_adam

from .cases import every_case, made


@every_case
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_variance_of_sample_gradients(case, chunk):
    module, loss, batches = made(case)
    objective = Objective(module, loss, batches)
    gradients = [
        Objective(module, loss, [(x[None], y[None])]).gradient()
        for inputs, targets in batches
        for x, y in zip(inputs, targets, strict=True)
    ]
    expected = torch.stack(gradients).var(dim=0, correction=0)
    found = fisher_diagonal(objective, centred=True, chunk=chunk)
    torch.testing.assert_close(found, expected)


@every_case
def test_it_is_the_diagonal_of_the_empirical_fisher(case):
    objective = Objective(*made(case))
    operator = EmpiricalFisher(objective)
    expected = (operator @ torch.eye(operator.size, dtype=torch.float64)).diagonal()
    torch.testing.assert_close(fisher_diagonal(objective, chunk=3), expected)


def test_of_adam_it_is_the_variance_of_batch_gradients_in_the_long_run():
    """Gradients drawn anew at each step, at a rate too small to move the weights."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(2000, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1e-12, betas=(0.9, 0.9))
    for _ in range(300):
        weight.grad = 0.5 + 3 * torch.randn(2000, dtype=torch.float64)
        optimizer.step()
    # With equal windows of effective length (1 + b) / (1 - b) = 19, the mean of v - m^2 is
    # the variance times 1 - 1/19.
    assert float(fisher_diagonal_of_adam(optimizer).mean()) == pytest.approx(9 * 18 / 19, rel=0.05)


def test_of_adam_it_can_be_negative():
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=1e-12)
    for k in range(100):
        weight.grad = torch.full_like(weight, 10.0 if k > 80 else 0.0)
        optimizer.step()
    assert float(fisher_diagonal_of_adam(optimizer)) < 0


def test_an_optimizer_without_moments_is_refused():
    weight = nn.Parameter(torch.zeros(3))
    for optimizer in (torch.optim.Adam([weight]), torch.optim.SGD([weight], lr=0.1)):
        with pytest.raises(ValueError, match="must be an Adam that has taken a step"):
            fisher_diagonal_of_adam(copy.deepcopy(optimizer))


def test_a_parameter_without_a_gradient_has_no_moments():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([used, unused])
    used.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(ValueError, match="has taken no step of a parameter"):
        fisher_diagonal_of_adam(optimizer)
