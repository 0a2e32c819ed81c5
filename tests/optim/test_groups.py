"""Parameter groups: settings of their own, and groups that come amid a walk."""

import pytest
import torch

from tests.optim.optimizers import ANCHORED
from tests.optim.problems import Quadratic, mlp, same, train, weights
from widevalley import SGLD, EntropyAdam, EntropySGD, LocalEntropy

PER_GROUP = {
    "lr": (0.5, 0.9), "langevin_lr": (0.05, 0.2), "gamma": (0.1, 1.0), "noise": (0.0, 0.3),
    "weight_decay": (0.0, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("build", [EntropySGD, EntropyAdam, SGLD])
@pytest.mark.parametrize("name", PER_GROUP)
def test_each_group_moves_by_its_own_settings(build, name):
    """Two groups move as two optimizers would, each with the noise of its parameter's number."""
    if build is SGLD and name in ("langevin_lr", "gamma"):
        pytest.skip("SGLD has no such setting")
    base = {} if build is SGLD else {"langevin_steps": 3}
    quadratic = Quadratic()
    together = [torch.nn.Parameter(quadratic.x0.clone()) for _ in range(2)]
    groups = [{"params": [p], name: v} for p, v in zip(together, PER_GROUP[name], strict=True)]
    joint = build(groups, lr=0.4, **base) if name != "lr" else build(groups, **base)
    for value, index in zip(PER_GROUP[name], range(2), strict=True):
        alone = [torch.nn.Parameter(quadratic.x0.clone()) for _ in range(2)]
        single = build(alone, **{"lr": 0.4, **base, name: value})
        for optimizer, ps in ((joint, together), (single, alone)):
            if optimizer is joint and index == 1:
                continue
            for _ in range(8):
                for p in ps:
                    p.grad = quadratic.gradient(p.detach())
                optimizer.step()
        assert torch.equal(together[index], alone[index])


@pytest.mark.parametrize("info", ANCHORED, ids=str)
@pytest.mark.parametrize("at", range(4))
def test_a_group_added_amid_a_walk_joins_at_the_next_anchor_update(info, at):
    model = mlp()
    first, last = model[0], model[2]
    optimizer = info.build(first.parameters(), langevin_steps=3)
    train(model, optimizer, range(at))
    start = weights(last)
    optimizer.add_param_group({"params": list(last.parameters())})
    waits = -at % 3
    train(model, optimizer, range(at, at + waits))
    assert same(start, weights(last))
    with optimizer.at_anchor():
        assert same(start, weights(last))
    train(model, optimizer, [at + waits])
    assert not same(start, weights(last))
    train(model, optimizer, range(at + waits + 1, 20))


def test_a_group_added_amid_a_walk_is_saved_and_resumed():
    def build(model):
        optimizer = EntropySGD(model[0].parameters(), langevin_steps=5)
        return optimizer, lambda: optimizer.add_param_group({"params": [*model[2].parameters()]})

    whole = mlp()
    optimizer, add = build(whole)
    train(whole, optimizer, range(3))
    add()
    train(whole, optimizer, range(3, 4))
    saved = {k: v.clone() for k, v in whole.state_dict().items()}, optimizer.state_dict()
    resumed = mlp(seed=3)
    other, add = build(resumed)
    add()
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    train(resumed, other, range(4, 14))
    train(whole, optimizer, range(4, 14))
    assert same(weights(whole), weights(resumed))


def test_local_entropy_gives_a_new_group_to_both_optimizers():
    model = mlp()
    first, last = list(model[0].parameters()), list(model[2].parameters())
    optimizer = LocalEntropy(torch.optim.SGD(first, lr=0.1), torch.optim.SGD(first, lr=1.0))
    optimizer.add_param_group({"params": last, "lr": 0.5, "noise": 0.2, "inner": {"lr": 0.03}})
    assert optimizer.inner.param_groups[1]["lr"] == 0.03
    assert optimizer.outer.param_groups[1]["lr"] == 0.5
    assert optimizer.param_groups[1] is optimizer.outer.param_groups[1]
    assert optimizer.param_groups[1]["noise"] == 0.2
    more = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(ValueError, match="lr must be >= 0, got -1.0"):
        optimizer.add_param_group({"params": [more], "inner": {"lr": -1.0}})
    assert len(optimizer.param_groups) == len(optimizer.outer.param_groups) == 2
    train(model, optimizer, range(25))
