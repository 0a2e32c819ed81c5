"""Networks with a loss and data cut unevenly, each small enough for every matrix to be formed."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from widevalley.models import CharLSTM, SmallCharLSTM


class Tied(nn.Module):
    """One weight matrix used twice, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)

    def forward(self, x):
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Text(nn.Module):
    """A recurrent network over whole texts, one a row."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, tokens):
        state = self.network.initial_state(len(tokens))
        return self.network(tokens.T, state)[0].movedim(0, 2)


@dataclass(frozen=True)
class Case:
    name: str
    build: object
    loss: object
    inputs: object
    targets: object
    smooth: bool = True


def classes(samples):
    return torch.randint(3, (samples,))


CASES = [
    Case(
        "tanh",
        lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)),
        nn.CrossEntropyLoss(),
        lambda n: torch.randn(n, 5),
        classes,
    ),
    Case(
        "relu and dropout",
        lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)),
        nn.CrossEntropyLoss(),
        lambda n: torch.randn(n, 5),
        classes,
        smooth=False,
    ),
    Case(
        "convolution and batch norm",
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Softplus(), nn.Flatten(), nn.Linear(8, 3)
        ),
        nn.CrossEntropyLoss(),
        lambda n: torch.randn(n, 1, 4, 4),
        classes,
    ),
    Case("tied and frozen", Tied, nn.CrossEntropyLoss(), lambda n: torch.randn(n, 4), classes),
    Case(
        "regression",
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2)),
        nn.MSELoss(),
        lambda n: torch.randn(n, 3),
        lambda n: torch.randn(n, 2),
    ),
    Case(
        "nn.LSTM",
        lambda: Text(CharLSTM(symbols=5, embedding=2, units=2)),
        nn.CrossEntropyLoss(),
        lambda n: torch.randint(5, (n, 4)),
        lambda n: torch.randint(5, (n, 4)),
    ),
    Case(
        "plain LSTM",
        lambda: Text(SmallCharLSTM(symbols=5, units=2)),
        nn.CrossEntropyLoss(),
        lambda n: torch.randint(5, (n, 4)),
        lambda n: torch.randint(5, (n, 4)),
    ),
]


def made(case):
    """Module, loss and batches of 4, 4 and 3 samples, in float64."""
    torch.manual_seed(0)
    module = case.build().double()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    inputs, targets = case.inputs(11), case.targets(11)
    if inputs.is_floating_point():
        inputs = inputs.double()
    if targets.is_floating_point():
        targets = targets.double()
    batches = list(zip(inputs.split(4), targets.split(4), strict=True))
    return module, case.loss, batches


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
