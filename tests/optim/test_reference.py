"""The optimizers against the slow reference, over all settings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.optim.optimizers import build as made
from tests.optim.problems import Quadratic
from widevalley import EntropyAdam, EntropySGD, scoping
from widevalley.optim import _reference as reference
from widevalley.optim._noise import gaussian, step_key

fraction = st.floats(0.0, 0.99)
shared = st.fixed_dictionaries(
    {
        "lr": st.floats(0.01, 1.5),
        "langevin_steps": st.integers(1, 5),
        "langevin_lr": st.floats(0.01, 0.4),
        "gamma": st.floats(0.0, 2.0),
        "gamma_growth": st.one_of(
            st.floats(0.0, 0.05),
            st.sampled_from([scoping.Linear(0.1), scoping.Saturating(0.5)]),
        ),
        "noise": st.floats(0.0, 1.0),
        "averaging": st.floats(0.01, 1.0),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "scale_by_gamma": st.booleans(),
    }
)


def run(build, x0, gradient, steps):
    p = torch.nn.Parameter(x0.clone())
    optimizer = build([p])
    trace = []
    for i in range(steps):
        p.grad = gradient(p.detach(), i)
        optimizer.step()
        with optimizer.at_anchor():
            x = p.detach().clone()
        mean = optimizer.state[p].get("mean", p)  # mu is x' where averaging is 1
        trace.append((x, p.detach().clone(), mean.detach().clone()))
    return trace


def agree(fast, slow, tolerance=1e-10):
    for k, (a, b) in enumerate(zip(fast, slow, strict=True)):
        for name, x, y in zip(("x", "x'", "mu"), a, b, strict=True):
            # the reference's last record of a walk already holds the new anchor
            scale = max(1.0, float(y.abs().max()))
            assert torch.allclose(x, y, rtol=0, atol=tolerance * scale), (k, name)


def problem(langevin_steps, seed=7):
    quadratic = Quadratic()
    shifts = torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (
        quadratic.x0,
        lambda x, i: quadratic.gradient(x) + 0.1 * shifts[i],
        lambda t, l: gaussian(quadratic.x0, step_key(seed, 2, t, l)),
    )


@settings(max_examples=150, deadline=None)
@given(
    shared,
    st.tuples(fraction, st.booleans()),
    st.tuples(fraction, st.booleans()),
    st.sampled_from(["as it is", "momentum_on_all", "noise_free_mean"]),
    st.booleans(),
)
def test_entropy_sgd_is_algorithm_1(common, walk, outer, convention, reset_momentum):
    inner_steps = common["langevin_steps"]
    x0, gradient, noise_at = problem(inner_steps)
    options = {"reset_momentum": reset_momentum}
    if convention != "as it is":
        options[convention] = True
    slow = reference.algorithm_1(
        x0,
        lambda x, t, l: gradient(x, t * inner_steps + l),
        noise_at,
        outer_steps=4,
        walk=reference.Momentum(*walk),
        outer=reference.Momentum(*outer),
        **common,
        **options,
    )
    fast = run(
        lambda p: made(
            EntropySGD,
            p,
            langevin_momentum=walk[0],
            langevin_nesterov=walk[1],
            momentum=outer[0],
            nesterov=outer[1],
            seed=7,
            worker=2,
            **common,
            **options,
        ),
        x0,
        gradient,
        4 * inner_steps,
    )
    agree(fast, slow)


@settings(max_examples=80, deadline=None)
@given(shared, st.tuples(fraction, fraction), st.booleans())
def test_entropy_adam_is_algorithm_1_with_adam(common, betas, adam_walk):
    inner_steps = common["langevin_steps"]
    x0, gradient, noise_at = problem(inner_steps)
    eps = 1e-3  # a tiny eps would magnify rounding where the pseudo-gradient vanishes
    slow = reference.algorithm_1(
        x0,
        lambda x, t, l: gradient(x, t * inner_steps + l),
        noise_at,
        outer_steps=4,
        walk=reference.Adam((0.8, 0.9), eps) if adam_walk else reference.Momentum(0.9),
        outer=reference.Adam(betas, eps),
        **common,
    )
    fast = run(
        lambda p: made(
            EntropyAdam,
            p,
            betas=betas,
            eps=eps,
            langevin_betas=(0.8, 0.9) if adam_walk else None,
            seed=7,
            worker=2,
            **common,
        ),
        x0,
        gradient,
        4 * inner_steps,
    )
    agree(fast, slow, 1e-8)


def test_the_released_convention_is_the_papers_with_other_names():
    x0, gradient, _ = problem(4)
    common = {"lr": 0.9, "langevin_steps": 4, "gamma": 0.3, "seed": 1}
    released = run(
        lambda p: EntropySGD.released(p, noise=0.2, averaging=0.75, **common),
        x0,
        gradient,
        12,
    )
    paper = run(
        lambda p: EntropySGD(p, noise=0.2 * 2**0.5, averaging=0.25, **common), x0, gradient, 12
    )
    agree(released, paper)


def test_the_pull_is_capped_where_the_walker_would_overshoot():
    x0, gradient, _ = problem(3)
    settings = {"langevin_steps": 3, "noise": 0.0, "langevin_lr": 0.1, "gamma_growth": 0.0}
    capped = run(lambda p: EntropySGD(p, gamma=1e30, **settings), x0, gradient, 9)
    at_cap = run(lambda p: EntropySGD(p, gamma=10.0, **settings), x0, gradient, 9)
    agree(capped, at_cap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_state_follows_the_reference_whatever_the_parameters_dtype(dtype):
    """The gradient is taken at the rounded walker; the sums are float32's."""
    inner_steps = 5
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(40, 6, generator=generator).to(dtype)
    x0 = torch.randn(6, generator=generator).to(dtype)
    settings = {
        "lr": 0.9, "langevin_steps": inner_steps, "langevin_lr": 1e-4, "gamma": 0.1,
        "gamma_growth": 0.0, "noise": 0.0, "averaging": 0.75,
    }  # fmt: skip
    slow = reference.algorithm_1(
        x0.double(),
        lambda x, t, l: gradients[t * inner_steps + l].double(),
        lambda t, l: torch.zeros(6),
        outer_steps=8,
        walk=reference.Momentum(0.9),
        **settings,
    )
    p = torch.nn.Parameter(x0.clone())
    optimizer = EntropySGD([p], **settings)
    for g in gradients:
        p.grad = g.clone()
        optimizer.step()
    state = optimizer.state[p]
    assert state["anchor"].dtype == torch.float32
    assert torch.allclose(state["anchor"].double(), slow[-1][0], rtol=0, atol=1e-6)
    assert torch.equal(p.detach(), state.get("walker", p.detach()).to(dtype))
