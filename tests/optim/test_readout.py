"""The read-out: an average of anchors that survives the walks."""

import copy

import pytest
import torch

from tests.optim.optimizers import BUILDS, entropy_sgd
from tests.optim.problems import close, mlp, same, train, weights
from widevalley import LocalEntropy, readout

every = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
DTYPES = [torch.float64, torch.float32, torch.bfloat16]

# the weights of anchors 1 to n, written out
READOUTS = {
    "exponential": (0.8, lambda n: [0.8 ** (n - k) for k in range(1, n + 1)]),
    "uniform": (readout.Uniform(), lambda n: [1.0] * n),
    "tail": (readout.Uniform(3), lambda n: [1.0 * (k >= min(3, n)) for k in range(1, n + 1)]),
    "from the start": (
        readout.EMA(0.8, unbiased=False),
        lambda n: [0.8**n] + [0.2 * 0.8 ** (n - k) for k in range(1, n + 1)],
    ),
    "one's own": (readout.Weighted(lambda k: k**0.5), lambda n: [k**0.5 for k in range(1, n + 1)]),
    "linear": (readout.PowerLaw(1.0), lambda n: [1.0 * k for k in range(1, n + 1)]),
}


@every
@pytest.mark.parametrize("chosen", READOUTS)
def test_it_is_the_weighted_mean_of_the_anchors(build, chosen):
    setting, weighted = READOUTS[chosen]
    model = mlp(dtype=torch.float64)
    optimizer = build(model.parameters(), readout=setting)
    anchors, start = [], weights(model)
    for i in range(18):
        train(model, optimizer, [i])
        if i % 3 == 2:
            with optimizer.at_anchor():
                anchors.append(weights(model))
            factors = weighted(len(anchors))
            counted = anchors if len(factors) == len(anchors) else [start, *anchors]
            expected = [
                sum(f * t for f, t in zip(factors, ts, strict=True)) / sum(factors)
                for ts in zip(*counted, strict=True)
            ]
            with optimizer.at_average():
                assert close(weights(model), expected, 1e-12)


def test_of_every_step_it_is_torchs_average_of_the_inner_optimizers_weights():
    ours, theirs = mlp(dtype=torch.float64), mlp(dtype=torch.float64)
    optimizer = LocalEntropy(
        torch.optim.AdamW(ours.parameters(), lr=0.01),
        langevin_steps=1, averaging=1.0, readout=readout.Uniform(),
    )  # fmt: skip
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    averaged = torch.optim.swa_utils.AveragedModel(theirs)
    for i in range(12):
        train(ours, optimizer, [i])
        train(theirs, plain, [i])
        averaged.update_parameters(theirs)
    assert same(weights(ours), weights(theirs))
    with optimizer.at_average():
        assert close(weights(ours), weights(averaged), 1e-12)


@every
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_of_walker_anchor_and_average_stays(build, dtype):
    model = mlp(dtype=dtype)
    optimizer = build(model.parameters(), readout=0.9)
    train(model, optimizer, range(7))
    walker, state = weights(model), str(optimizer.state_dict())
    with optimizer.at_anchor():
        anchor = weights(model)
    with optimizer.at_average():
        average = weights(model)
    assert not same(walker, anchor)
    assert not same(anchor, average)
    for _ in range(20):
        with optimizer.at_anchor():
            with optimizer.at_average():
                assert same(average, weights(model))
            assert same(anchor, weights(model))
        optimizer.eval()
        assert same(average, weights(model))
        with optimizer.at_anchor():
            assert same(anchor, weights(model))
        assert same(average, weights(model))
        optimizer.train()
        assert same(walker, weights(model))
    assert state == str(optimizer.state_dict())


@every
def test_it_changes_nothing_in_training(build):
    one, two = mlp(), mlp()
    train(one, build(one.parameters(), readout=0.9), range(8))
    train(two, build(two.parameters()), range(8))
    assert same(weights(one), weights(two))


@every
def test_without_one_the_average_is_the_anchor(build):
    model = mlp()
    optimizer = build(model.parameters())
    train(model, optimizer, range(4))
    with optimizer.at_anchor():
        anchor = weights(model)
    with optimizer.at_average():
        assert same(anchor, weights(model))
    assert all("average" not in state for state in optimizer.state_dict()["state"].values())


def test_turned_on_later_it_begins_there():
    model = mlp(dtype=torch.float64)
    optimizer = entropy_sgd(model.parameters())
    train(model, optimizer, range(6))
    optimizer.param_groups[0]["readout"] = 0.5
    train(model, optimizer, range(6, 9))
    copied = copy.deepcopy(optimizer.state_dict())
    assert all("average" in state for state in copied["state"].values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.0, r"readout must be a decay in \[0, 1\), a read-out .*, or None, got 1.0"),
        ("ema", "readout must be a decay .* got 'ema'"),
        (lambda: 1, "readout must be a read-out"),
        (lambda k: 2.0, r"readout\(1\) must be in \(0, 1\], got 2.0"),
    ],
)
def test_a_bad_one_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        entropy_sgd(mlp().parameters(), readout=value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: readout.EMA(1.0), r"decay must be in \[0, 1\), got 1.0"),
        (lambda: readout.Uniform(0), "start must be a whole number >= 1, got 0"),
        (lambda: readout.PowerLaw(-1), "power must be >= 0, got -1"),
    ],
)
def test_bad_weights_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
