"""Curvature by layer, and Kronecker factors, against blocks of dense matrices."""

import numpy as np
import pytest
import torch
from torch import nn

from widevalley.valley import GaussNewton, Hessian, Objective, extreme_eigenvalues, trace
from widevalley.valley.hessian import KFAC, ParameterBlock, layer_blocks

from .cases import CASES, every_case, made


def identity(operator):
    return torch.eye(operator.size, dtype=operator.dtype)


@every_case
def test_blocks_of_layers_are_those_of_the_matrix(case):
    operator = Hessian(Objective(*made(case)))
    matrix = operator @ identity(operator)
    blocks = layer_blocks(operator)
    owners = [
        name.rpartition(".")[0]
        for name, weight in operator.objective.weights.items()
        for _ in range(weight.numel())
    ]
    for name, block in blocks.items():
        rows = torch.tensor([k for k, owner in enumerate(owners) if owner == name])
        expected = matrix[rows[:, None], rows]
        torch.testing.assert_close(block @ identity(block), expected)
        if block.size > 3:
            exact = np.linalg.eigvalsh(expected.numpy())
            found = extreme_eigenvalues(block, steps=200, tolerance=1e-9)
            assert found.largest[0] == pytest.approx(exact[-1], abs=1e-8)
            estimate = trace(block, products=3 * block.size)
            assert estimate.value == pytest.approx(exact.sum(), abs=1e-9)
    assert sum(block.size for block in blocks.values()) == operator.size


def test_parameters_are_chosen_by_name():
    operator = Hessian(Objective(*made(CASES[0])))
    block = ParameterBlock(operator, ["2.bias", "0.weight"])
    assert block.indices.tolist() == [*range(20), *range(36, 39)]
    with pytest.raises(ValueError, match="names: 1.weight; must be some of 0.weight, 0.bias"):
        ParameterBlock(operator, ["0.weight", "1.weight"])
    with pytest.raises(ValueError, match="names: none; must be some of"):
        ParameterBlock(operator, [])


def test_kronecker_factors_of_a_linear_layer_are_gauss_newton():
    torch.manual_seed(0)
    x, y = torch.randn(11, 4).double(), torch.randn(11, 3).double()
    batches = list(zip(x.split(4), y.split(4)))
    objective = Objective(nn.Sequential(nn.Linear(4, 3)).double(), nn.MSELoss(), batches)
    found, exact = KFAC(objective), GaussNewton(objective)
    torch.testing.assert_close(found @ identity(found), exact @ identity(exact))
    ((inputs, gradients),) = found.factors.values()
    extended = torch.cat([x, torch.ones(11, 1).double()], dim=1)
    torch.testing.assert_close(inputs / inputs[-1, -1], extended.T @ extended / 11)
    assert gradients.shape == (3, 3)


def test_kronecker_factors_of_a_network_are_near_gauss_newtons_blocks():
    """Exact they are not, beyond one layer; the trace of the last layer's block is."""
    objective = Objective(*made(CASES[0]))
    found, exact = KFAC(objective), GaussNewton(objective)
    a, b = found @ identity(found), exact @ identity(exact)
    torch.testing.assert_close(a, a.T)
    assert float(torch.linalg.eigvalsh(a)[0]) > -1e-12
    assert 0.5 < float(a.trace() / b.trace()) < 2
    assert float(a[:24, 24:].abs().max()) == 0


def test_what_curvlinops_cannot_take_is_refused():
    module, loss, batches = made(CASES[0])
    for objective, message in (
        (Objective(module, nn.functional.cross_entropy, batches), "KFAC needs nn.MSELoss"),
        (
            Objective(module, loss, batches, penalty=lambda w: w["0.bias"].square().sum()),
            "KFAC knows no penalty",
        ),
        (Objective(module, loss, [((x,), y) for x, y in batches]), "pairs of tensors"),
    ):
        with pytest.raises(ValueError, match=message):
            KFAC(objective)
