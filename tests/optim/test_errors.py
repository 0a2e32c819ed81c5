"""Every refusal, by its message."""

import math

import pytest
import torch

from tests.optim.problems import mlp
from widevalley import SGLD, Conventions, EntropyAdam, EntropySGD, LocalEntropy, scoping


def params():
    return list(mlp().parameters())


def local_entropy(p, **settings):
    return LocalEntropy(torch.optim.SGD(p, lr=0.1), torch.optim.SGD(p, lr=1.0), **settings)


BOTH = [EntropySGD, EntropyAdam]
ANCHORED = [*BOTH, local_entropy]
ALL = [*ANCHORED, SGLD]
BAD = [
    ([*BOTH, SGLD], "lr", -1.0, "lr must be >= 0, got -1.0"),
    ([*BOTH, SGLD], "lr", math.nan, "lr must be >= 0, got nan"),
    ([*BOTH, SGLD], "lr", math.inf, "lr must be >= 0, got inf"),
    ([*BOTH, SGLD], "lr", "fast", "lr must be >= 0, got 'fast'"),
    ([*BOTH, SGLD], "lr", None, "lr must be >= 0, got None"),
    ([*BOTH, SGLD], "lr", torch.ones(2), r"lr must be >= 0, got tensor\(\[1., 1.\]\)"),
    (BOTH, "langevin_lr", -0.1, "langevin_lr must be >= 0, got -0.1"),
    ([EntropySGD], "momentum", 1.0, r"momentum must be in \[0, 1\), got 1.0"),
    ([EntropySGD], "momentum", -0.1, r"momentum must be in \[0, 1\), got -0.1"),
    (BOTH, "langevin_momentum", 1.0, r"langevin_momentum must be in \[0, 1\), got 1.0"),
    ([*BOTH, SGLD], "weight_decay", -1e-4, "weight_decay must be >= 0, got -0.0001"),
    (ANCHORED, "langevin_steps", 0, "langevin_steps must be a whole number >= 1, got 0"),
    (ANCHORED, "langevin_steps", 2.5, "langevin_steps must be a whole number >= 1, got 2.5"),
    (ANCHORED, "langevin_steps", True, "langevin_steps must be a whole number >= 1, got True"),
    (ANCHORED, "gamma", -1e-4, "gamma must be >= 0, got -0.0001"),
    (ANCHORED, "gamma_growth", -1, r"gamma_growth must be > -1, or a schedule .*, got -1"),
    (ANCHORED, "gamma_growth", "fast", r"gamma_growth must be > -1, or a schedule .*, got 'fast'"),
    (ALL, "noise", -1e-4, "noise must be >= 0, got -0.0001"),
    (ANCHORED, "averaging", 0.0, r"averaging must be in \(0, 1\], got 0.0"),
    (ANCHORED, "averaging", 1.5, r"averaging must be in \(0, 1\], got 1.5"),
    (ALL, "seed", -1, "seed must be a whole number >= 0, got -1"),
    (ALL, "worker", 0.5, "worker must be a whole number >= 0, got 0.5"),
    ([*BOTH, SGLD], "noise_law", "cauchy", "noise_law must be one of gaussian, two-point, got 'c"),
    ([EntropyAdam], "betas", (0.9, 1.0), r"betas\[1\] must be in \[0, 1\), got 1.0"),
    ([EntropyAdam], "betas", 0.9, r"betas must be two numbers in \[0, 1\), got 0.9"),
    ([EntropyAdam], "langevin_betas", (-1, 0.9), r"langevin_betas\[0\] must be in \[0, 1\), got"),
    ([EntropyAdam], "eps", -1e-8, "eps must be >= 0, got -1e-08"),
]


@pytest.mark.parametrize(
    ("build", "name", "value", "message"),
    [(build, *rest) for builds, *rest in BAD for build in builds],
)
def test_a_bad_setting_is_named_with_what_is_allowed(build, name, value, message):
    with pytest.raises(ValueError, match=message):
        build(params(), **{name: value})


@pytest.mark.parametrize("build", [*BOTH, SGLD])
def test_a_bad_setting_in_a_group_is_refused_and_the_group_not_added(build):
    first, second = params(), params()
    with pytest.raises(ValueError, match="noise must be >= 0, got -1"):
        build([{"params": first, "noise": -1}])
    optimizer = build(first)
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        optimizer.add_param_group({"params": second, "lr": -1})
    assert len(optimizer.param_groups) == 1
    assert all(p not in optimizer.state for p in second)


@pytest.mark.parametrize("name", ["langevin_steps", "seed", "worker"])
def test_what_all_groups_share_may_not_differ(name):
    optimizer = EntropySGD(params(), **{name: 3})
    with pytest.raises(ValueError, match=f"{name} is one for all groups, 3, got 4"):
        optimizer.add_param_group({"params": params(), name: 4})
    assert len(optimizer.param_groups) == 1


def test_the_released_convention_has_bounds_of_its_own():
    EntropySGD.released(params(), averaging=0.0, noise=1e-4)
    with pytest.raises(ValueError, match=r"averaging must be in \[0, 1\), got 1.0"):
        EntropySGD.released(params(), averaging=1.0, noise=1e-4)
    with pytest.raises(ValueError, match="momentum must be 0 as released, got 0.9"):
        EntropySGD.released(params(), averaging=0.75, noise=1e-4, momentum=0.9)


def test_noise_that_goes_through_momentum_cannot_be_kept_out_of_the_mean():
    both = Conventions(noise_free_mean=True, momentum_on_all=True)
    with pytest.raises(ValueError, match="noise_free_mean must be False where momentum_on_all"):
        EntropySGD(params(), conventions=both)


@pytest.mark.parametrize("build", [*BOTH, SGLD])
def test_a_parameter_of_another_kind_is_refused(build):
    narrow = torch.nn.Parameter(torch.zeros(3).to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ValueError, match=r"dense parameters of float16.*got parameter 1 as .*e4m3"):
        build([*params()[:1], narrow])


def test_noise_is_preconditioned_by_second_moments_alone():
    with pytest.raises(ValueError, match="preconditioned must be False where .* got SGD"):
        LocalEntropy(torch.optim.SGD(params(), lr=0.1), preconditioned=True)


def test_local_entropy_wants_two_optimizers_over_the_same_parameters():
    p, q = params(), params()
    sgd = torch.optim.SGD
    with pytest.raises(ValueError, match="outer must be a torch optimizer, got 0.1"):
        LocalEntropy(sgd(p, lr=0.1), 0.1)
    with pytest.raises(ValueError, match="two optimizers over the same parameters"):
        LocalEntropy(sgd(p, lr=0.1), sgd(q, lr=0.1))
    one = sgd(p, lr=0.1)
    with pytest.raises(ValueError, match="two optimizers over the same parameters"):
        LocalEntropy(one, one)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: scoping.Exponential(-1), "rate must be > -1, got -1"),
        (lambda: scoping.Linear(-0.1), "rate must be >= 0, got -0.1"),
        (lambda: scoping.Quadratic(math.nan), "rate must be >= 0, got nan"),
        (lambda: scoping.Saturating(0), "tau must be > 0, got 0"),
        (lambda: scoping.TotalGrowth(0, 10), "factor must be > 0, got 0"),
        (lambda: scoping.TotalGrowth(10, 0), "updates must be > 0, got 0"),
    ],
)
def test_a_bad_schedule_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
