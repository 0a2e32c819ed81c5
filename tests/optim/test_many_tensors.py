"""Models of thousands of tiny parameters: what a step does for each of them is bounded."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.optim.optimizers import OPTIMIZERS, local_entropy
from widevalley import SGLD, EntropySGD
from widevalley.gradient_point import AlongMomentum, Smoothing

FEW, MANY = 40, 240


class Count(TorchDispatchMode):
    """Counts the operations that are sent to a backend, those on lists of tensors once."""

    def __init__(self):
        super().__init__()
        self.views = self.others = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        view = any(a.alias_info is not None and not a.alias_info.is_write
                   for a in func._schema.arguments)  # fmt: skip
        self.views += view
        self.others += not view
        return func(*args, **(kwargs or {}))


def operations(build, count):
    """Those of the third walk, that make or change numbers, and views."""
    params = [nn.Parameter(torch.ones(3)) for _ in range(count)]
    optimizer = build(params)
    for p in params:
        p.grad = torch.ones_like(p)
    for _ in range(6):
        optimizer.step()
    with Count() as counted:
        for _ in range(3):
            optimizer.step()
    return counted.others / 3, counted.views / 3


def sgd_pair(params, **settings):
    return local_entropy(
        params,
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
        lambda p: torch.optim.SGD(p, lr=0.8, foreach=True),
        **{"langevin_steps": 3, **settings},
    )


# Adam in the walk counts the steps of each parameter, and takes them one by one; torch's own
# optimizers do so on a CPU unless they are told to
ALONE = ("entropy-adam, Adam walk", *(i.name for i in OPTIMIZERS if i.name.startswith("local")))
BUILDS = {info.name: info.build for info in OPTIMIZERS if info.name not in ALONE}
BUILDS |= {
    "local-entropy": lambda p: sgd_pair(p, noise=0.1, gamma=0.5),
    "local-entropy, gamma 0": lambda p: sgd_pair(p, noise=0.1, gamma=0.0),
    "local-entropy, no noise": lambda p: sgd_pair(p, noise=0.0, gamma=0.5),
    "smoothed": lambda p: sgd_pair(p, gradient_point=Smoothing(0.1)),
    "along momentum": lambda p: EntropySGD(p, gradient_point=AlongMomentum(0.1)),
    "sgld, no noise": lambda p: SGLD(p, noise=0.0),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_parameter_more_costs_no_operation_more_but_views(name):
    """Arithmetic is of lists or of what is laid side by side; per tensor at most one copy."""
    few, many = (operations(BUILDS[name], count) for count in (FEW, MANY))
    added = MANY - FEW
    assert (many[0] - few[0]) / added < 1.5
    assert (many[1] - few[1]) / added < 12
