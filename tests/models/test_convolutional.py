"""Sizes, shapes, where things stand, and dropout that is there only while training."""

import pytest
import torch
from torch import nn

from widevalley.models import AllCNN, LeNet, SmallLeNet

SHAPES = {LeNet: (784,), SmallLeNet: (784,), AllCNN: (3, 32, 32)}


@pytest.mark.parametrize(
    ("model", "parameters"), [(LeNet, 131_220), (SmallLeNet, 47_658), (AllCNN, 1_667_166)]
)
def test_size_and_shape(model, parameters):
    net = model()
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.randn(2, *SHAPES[model])).shape == (2, 10)


def kinds(net):
    return [type(layer).__name__ for layer in net if not isinstance(layer, nn.Unflatten)]


def test_lenet_in_the_papers_order():
    block = ["Conv2d", "MaxPool2d", "ReLU", "BatchNorm2d", "Dropout"]
    assert kinds(LeNet()) == [*block, *block, "Flatten", "Linear", "ReLU", "Dropout", "Linear"]


def test_all_cnn_in_the_papers_order():
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    body = ["Dropout", *block * 3, "Dropout", *block * 3, "Dropout", *block * 3]
    assert kinds(AllCNN()) == [*body, "AdaptiveAvgPool2d", "Flatten"]


def test_all_cnn_keeps_the_size_but_where_the_stride_is_two():
    sizes, x = [], torch.randn(2, 3, 32, 32)
    for layer in AllCNN():
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(96, 32)] * 2 + [(96, 16)] + [(192, 16)] * 2 + [(192, 8)] * 3 + [(10, 8)]


def test_the_papers_dropout_unless_told():
    def shares(net):
        return [layer.p for layer in net if isinstance(layer, nn.Dropout)]

    assert shares(LeNet()) == [0.25] * 3
    assert shares(LeNet(dropout=0.5, input_dropout=0.1)) == [0.1, 0.5, 0.5, 0.5]
    assert shares(AllCNN()) == [0.2, 0.5, 0.5]
    assert shares(AllCNN(dropout=0, input_dropout=0)) == []


@pytest.mark.parametrize("model", [LeNet, AllCNN])
def test_dropout_acts_while_training_only(model):
    net, x = model(), torch.randn(2, *SHAPES[model])
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("model", [LeNet, AllCNN])
def test_channels_last_computes_the_same(model):
    net, x = model().double().eval(), torch.randn(4, *SHAPES[model], dtype=torch.float64)
    expected = net(x)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(x), expected)


@pytest.mark.parametrize("share", [-0.1, 1.0])
@pytest.mark.parametrize(
    ("model", "name"), [(LeNet, "dropout"), (AllCNN, "dropout"), (AllCNN, "input_dropout")]
)
def test_bad_dropout(model, name, share):
    with pytest.raises(ValueError, match=rf"^{name}={share}: must be in \[0, 1\)$"):
        model(**{name: share})
