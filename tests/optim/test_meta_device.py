"""Built before the parameters have memory."""

import pytest
import torch
from torch import nn

from tests.optim.optimizers import OPTIMIZERS
from tests.optim.problems import mlp, same, train, weights


@pytest.fixture
def in_place():
    """Parameters keep their identity where their device changes."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


@pytest.mark.parametrize("info", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_materialised_after_construction_trains(info, dtype, in_place):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)
    optimizer = info.build(model.parameters())
    given = list(model.parameters())
    model.to_empty(device="cpu")
    assert all(p is q for p, q in zip(given, model.parameters(), strict=True))
    twin = mlp(dtype=dtype)
    model.load_state_dict(twin.state_dict())
    theirs = info.build(twin.parameters())
    if info.anchored:
        with optimizer.at_anchor():
            assert same(weights(model), weights(twin))
    for i in range(7):
        train(model, optimizer, [i])
        train(twin, theirs, [i])
        if info.anchored:
            with optimizer.at_anchor(), theirs.at_anchor():
                assert same(weights(model), weights(twin))
    assert same(weights(model), weights(twin))
