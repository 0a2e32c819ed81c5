"""The matrix in blocks: by products, by a layer's structure, from stored blocks, and refused."""

import pytest
import torch
from torch import nn

from widevalley.models import SmallLeNet, SmallMnistFC
from widevalley.valley import GaussNewton, Hessian, Objective
from widevalley.valley.hessian import assemble, assembly
from widevalley.valley.hessian.linear_layer import largest_linear_layer

from .cases import CASES, every_case, made


def whole(matrix):
    full = matrix.values.new_zeros(matrix.size, matrix.size)
    full[matrix.support[:, None], matrix.support] = matrix.values
    return full


def by_products(operator):
    return operator @ torch.eye(operator.size, dtype=operator.dtype)


@every_case
@pytest.mark.parametrize("columns", [pytest.param(1, marks=pytest.mark.slow), 7, 1000])
@pytest.mark.parametrize("structure", [True, False])
def test_blocks_make_the_matrix(case, columns, structure):
    operator = Hessian(Objective(*made(case)))
    found = assemble(operator, columns=columns, structure=structure)
    torch.testing.assert_close(whole(found), by_products(operator), rtol=1e-10, atol=1e-13)
    assert torch.equal(found.values, found.values.T)
    assert found.asymmetry < 1e-12


@every_case
def test_other_operators_have_a_matrix_too(case):
    operator = GaussNewton(Objective(*made(case)))
    torch.testing.assert_close(whole(assemble(operator)), by_products(operator))


def dark_and_silent():
    """Two inputs that are always zero, and a hidden unit that never fires."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        module[0].bias[1] = -100
    x = torch.randn(20, 6, dtype=torch.float64)
    x[:, [2, 5]] = 0
    return Objective(module, nn.CrossEntropyLoss(), [(x, torch.randint(3, (20,)))])


@pytest.mark.parametrize("structure", [True, False])
def test_weights_that_nothing_depends_on_are_left_out(structure):
    operator = Hessian(dark_and_silent())
    found = assemble(operator, structure=structure)
    dark, silent, unread = 2 * 4, 6 + 1 - 2, 3
    assert len(found.support) == found.size - dark - silent - unread
    torch.testing.assert_close(whole(found), by_products(operator), rtol=1e-10, atol=1e-14)


def images(samples):
    torch.manual_seed(1)
    pixels = torch.randn(samples, 784, dtype=torch.float64).relu()
    return [(pixels, torch.randint(10, (samples,)))]


@pytest.mark.slow
@pytest.mark.parametrize("network", [SmallMnistFC, SmallLeNet])
def test_the_structure_of_the_papers_networks(network):
    """Columns of the fast route against products, too many for a test to take all."""
    torch.manual_seed(0)
    operator = Hessian(Objective(network().double(), nn.CrossEntropyLoss(), images(24)))
    layer = largest_linear_layer(operator.objective)
    assert layer.stop - layer.start > 0.8 * operator.size
    every = [torch.ones(layer.features + 1, dtype=torch.bool)] * 4
    block_row = layer.block_row(3, every)
    columns = torch.zeros(operator.size, 5, dtype=torch.float64)
    rows = layer.weights_of(3)
    columns[rows[[0, 100, 200, 300, -1]], range(5)] = 1
    expected = (operator @ columns)[torch.cat([layer.weights_of(k) for k in range(4)])]
    found = block_row[[0, 100, 200, 300, -1]].T
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_a_layer_is_left_to_products_where_the_formula_fails():
    module, loss, batches = made(CASES[3])  # its largest layer's weights are used twice
    assert largest_linear_layer(Objective(module, loss, batches)).start == 20
    recurrent = Objective(*made(CASES[6]))
    assert largest_linear_layer(recurrent) is None
    norm = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    data = [(torch.randn(8, 5).double(), torch.randint(3, (8,)))]
    coupled = Objective(norm, nn.CrossEntropyLoss(), data, batch_norm="batch")
    assert largest_linear_layer(coupled) is None
    assert largest_linear_layer(Objective(norm, nn.CrossEntropyLoss(), data)) is not None


def test_stored_blocks_are_not_computed_again(tmp_path, monkeypatch):
    operator = Hessian(Objective(*made(CASES[0])))
    calls = []
    first = assemble(operator, columns=5, folder=tmp_path, progress=lambda *n: calls.append(n))
    assert calls[-1] == (operator.size, operator.size)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    stored = sorted(tmp_path.iterdir())
    assert len(stored) == len(calls)
    stored[0].unlink()
    computed = []
    for block in (assembly._Columns, assembly._Unit):
        compute = block.compute
        monkeypatch.setattr(
            block, "compute", lambda self, f=compute: computed.append(self.name) or f(self)
        )
    again = assemble(operator, columns=5, folder=tmp_path)
    assert computed == [stored[0].stem]
    assert torch.equal(first.values, again.values)


def test_what_does_not_fit_is_refused_before_it_is_begun(monkeypatch):
    monkeypatch.setattr("widevalley.valley._memory.free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"needs .* GiB on cpu, 0.0 GiB are free"):
        assemble(Hessian(Objective(*made(CASES[0]))))


def test_blocks_of_another_making_are_not_taken_for_these(tmp_path):
    operator = Hessian(Objective(*made(CASES[0])))
    expected = assemble(operator, structure=False).values
    assemble(operator, columns=5, folder=tmp_path)
    found = assemble(operator, columns=5, structure=False, folder=tmp_path)
    torch.testing.assert_close(found.values, expected)
