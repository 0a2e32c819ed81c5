"""Sizes, shapes, and dropout that is there only while training."""

import pytest
import torch

from widevalley.models import DigitsMLP, MnistFC, SmallMnistFC


@pytest.mark.parametrize(
    ("model", "inputs", "parameters"),
    [(MnistFC, 784, 1_863_690), (SmallMnistFC, 784, 50_890), (DigitsMLP, 64, 8_970)],
)
def test_size_and_shape(model, inputs, parameters):
    net = model()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.randn(5, inputs)).shape == (5, 10)


def test_dropout_acts_while_training_only():
    net = DigitsMLP(dropout=0.5, input_dropout=0.5)
    x = torch.randn(5, 64)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_dropout_does_not_change_the_initial_weights():
    torch.manual_seed(0)
    plain = DigitsMLP(dropout=0.0)
    torch.manual_seed(0)
    dropped = DigitsMLP(dropout=0.5, input_dropout=0.2)
    for a, b in zip(plain.parameters(), dropped.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("share", [-0.1, 1.0])
@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_bad_dropout(name, share):
    with pytest.raises(ValueError, match=rf"^{name}={share}: must be in \[0, 1\)$"):
        MnistFC(**{name: share})
