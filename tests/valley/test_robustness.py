"""Rounding and noise, against their formulas and torch's own quantiser."""

import pytest
import torch
from torch import nn

from widevalley.valley.robustness import quantised, round_to_nearest, with_noise


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_rounding_is_torchs_per_channel_quantiser(bits, shape):
    torch.manual_seed(0)
    weight = torch.randn(shape)
    top = 2 ** (bits - 1) - 1
    scales = weight.flatten(1).abs().amax(1) / top
    zeros = torch.zeros(shape[0], dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -top, top)
    torch.testing.assert_close(round_to_nearest(weight, bits), expected)


def test_a_channel_has_no_more_values_than_bits_allow_and_keeps_its_largest():
    weight = torch.linspace(-1, 3, 400).view(4, 100)
    rounded = round_to_nearest(weight, 3)
    for row, before in zip(rounded, weight):
        assert len(row.unique()) <= 7
        assert float(row.abs().max()) == pytest.approx(float(before.abs().max()))
        step = float(before.abs().max()) / 3
        assert float((row - before).abs().max()) <= step / 2 + 1e-6


def test_channels_of_zeros_stay():
    weight = torch.tensor([[0.0, 0.0], [1.0, -0.3]])
    assert torch.equal(round_to_nearest(weight, 4)[0], weight[0])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def test_a_copy_is_rounded_but_for_its_vectors():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = quantised(module, 4)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    for name, p in made.named_parameters():
        expected = round_to_nearest(before[name], 4) if p.dim() > 1 else before[name]
        assert torch.equal(p, expected)
    assert not torch.equal(made[0].weight, module[0].weight)


def test_a_shared_weight_is_rounded_once():
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    module[1].weight = module[0].weight
    made = quantised(module, 3)
    assert made[1].weight is made[0].weight
    assert torch.equal(made[0].weight, round_to_nearest(module[0].weight, 3))


def test_noise_has_the_size_that_is_asked_for_and_its_seed_decides():
    torch.manual_seed(0)
    module = nn.Linear(400, 300)
    with torch.no_grad():
        module.weight.mul_(5)
    made, same, other = (with_noise(module, 0.1, seed=seed) for seed in (3, 3, 4))
    noise = (made.weight - module.weight).detach()
    rms = module.weight.detach().square().mean().sqrt()
    assert float(noise.std() / rms) == pytest.approx(0.1, rel=0.02)
    assert float(noise.mean() / rms) == pytest.approx(0, abs=0.002)
    assert torch.equal(made.weight, same.weight)
    assert not torch.equal(made.weight, other.weight)


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="bits=1: must be at least 2"):
        quantised(network(), 1)
    with pytest.raises(ValueError, match="radius=0.0: must be above 0"):
        with_noise(network(), 0.0, seed=0)
