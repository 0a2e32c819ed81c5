"""Batch-norm statistics: right inside the block, untouched after it."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from widevalley import EntropySGD, recompute_batch_norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.BatchNorm1d(6), nn.Linear(6, 5), nn.Dropout(0.5), nn.BatchNorm1d(5, momentum=0.3),
        nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def data(n=103):
    return 2 + 3 * torch.randn(n, 6, generator=torch.Generator().manual_seed(1))


def snapshot(model):
    buffers = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d)]
    return buffers, modes, momenta


def unchanged(before, after):
    return before[1:] == after[1:] and all(
        torch.equal(v, after[0][k]) for k, v in before[0].items()
    )


@pytest.mark.parametrize("sizes", [[103], [50, 50, 3], [1, 102]][:2])
def test_statistics_are_means_over_samples_with_dropout_off(sizes):
    model, inputs = network(), data()
    batches = inputs.split(sizes)
    with recompute_batch_norm(model, [(b, None) for b in batches]):
        assert not model.training
        mean, variance = model[0].running_mean, model[0].running_var
        assert torch.allclose(mean, inputs.mean(0), rtol=0, atol=1e-5)
        expected = sum(b.var(0) * len(b) for b in batches) / len(inputs)
        assert torch.allclose(variance, expected, rtol=1e-5, atol=0)
        if len(sizes) == 1:
            hidden = model[1](nn.functional.batch_norm(inputs, None, None, training=True,
                              weight=model[0].weight, bias=model[0].bias))  # fmt: skip
            assert torch.allclose(model[3].running_mean, hidden.mean(0), rtol=0, atol=1e-5)


def test_training_is_undisturbed():
    model = network()
    model(data())
    model[2].eval()
    before, rng = snapshot(model), torch.get_rng_state()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data()), 20, shuffle=True)
    with recompute_batch_norm(model, loader):
        assert not unchanged(before, snapshot(model))
    assert unchanged(before, snapshot(model))
    assert torch.equal(rng, torch.get_rng_state())


def test_an_error_leaves_everything_as_it_was():
    model = network()
    before = snapshot(model)
    with pytest.raises(RuntimeError), recompute_batch_norm(model, [data(), torch.ones(3, 99)]):
        pass
    assert unchanged(before, snapshot(model))
    with pytest.raises(KeyError), recompute_batch_norm(model, [data()]):
        raise KeyError
    assert unchanged(before, snapshot(model))


def test_batches_in_dictionaries_weigh_by_their_samples():
    model = nn.Sequential(nn.BatchNorm1d(1))
    batches = [{"x": torch.zeros(9, 1), "y": None}, {"x": torch.full((2, 1), 11.0), "y": None}]
    forward = lambda batch: model(batch["x"])  # noqa: E731
    with recompute_batch_norm(model, batches, forward=forward):
        assert float(model[0].running_mean) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="loader must yield tensors, or what begins with one"):
        with recompute_batch_norm(model, [{"x": "text"}]):
            pass


def test_a_layer_that_is_passed_twice_counts_each_pass():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6)
    model = nn.Sequential(norm, nn.Linear(6, 6), norm)
    twin = copy.deepcopy(model)
    batches = list(torch.split(data(100), 25))
    update_bn(batches, twin)
    with recompute_batch_norm(model, batches):
        torch.testing.assert_close(norm.running_mean, twin[0].running_mean)
        torch.testing.assert_close(norm.running_var, twin[0].running_var)


def test_an_empty_loader_is_refused():
    with pytest.raises(ValueError, match="loader must yield at least one sample"):
        with recompute_batch_norm(network(), []):
            pass


def test_without_batch_norm_the_loader_is_not_read():
    def loader():
        raise AssertionError
        yield

    with recompute_batch_norm(nn.Linear(2, 2), loader()):
        pass


def test_statistics_are_those_of_the_anchor():
    model = network()
    optimizer = EntropySGD(model.parameters(), langevin_steps=50)
    for _ in range(10):
        model.zero_grad()
        model(data()).square().mean().backward()
        optimizer.step()
    with optimizer.at_anchor(), recompute_batch_norm(model, [data()]):
        at_anchor = model[3].running_mean.clone()
    with recompute_batch_norm(model, [data()], forward=model):
        assert not torch.allclose(at_anchor, model[3].running_mean)
