"""The paper's equations, each with a function that checks it in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from widevalley.valley import theory
from widevalley.valley.entropy import QuadraticLoss, local_entropy_on_grid
from widevalley.valley.landscape import TOY_GAMMAS, toy_landscape
from widevalley.valley.samplers import SGLDSampler


@dataclass(frozen=True)
class TheoryCheck:
    """An equation of the paper, and what checks it."""

    section: str
    equation: str
    by: str
    """Names in `widevalley.valley`."""
    run: Callable[[], str]
    """Computes, and returns the outcome in words."""


def _axis(reach: float, points: int) -> Tensor:
    return torch.linspace(-reach, reach, points, dtype=torch.float64)


def _rough(x: Tensor) -> Tensor:
    return 0.5 * x.square() + torch.cos(3 * x)


def _gradient() -> str:
    axis, gamma = _axis(8, 1601), 2.0
    entropy = local_entropy_on_grid(_rough(axis), [axis], gamma)
    # Both sides by quadrature on the axis; its ends, where the integrals are cut, are left out.
    slope = torch.gradient(entropy, spacing=float(axis[1] - axis[0]))[0]
    log_law = -_rough(axis)[None] - gamma / 2 * (axis[:, None] - axis[None]) ** 2
    mean = torch.softmax(log_law, dim=1) @ axis
    gap = float((slope - gamma * (mean - axis))[200:-200].abs().max())
    return f"f = x²/2 + cos 3x, γ = 2, by quadrature: the sides differ by {gap:.0e} at most"


def _limits() -> str:
    axis = _axis(4, 2001)
    values = _rough(axis)
    gaps = []
    for gamma in (10.0, 100.0, 1000.0):
        flat = 0.5 * math.log(2 * math.pi / gamma)
        entropy = local_entropy_on_grid(values, [axis], gamma)
        gaps.append(float((entropy - flat + values)[500:-500].abs().max()))
    shown = ", ".join(f"{gap:.2g}" for gap in gaps)
    return f"largest difference {shown} at γ = 10, 100, 1000: it falls as 1/γ"


def _temperature() -> str:
    step, eps, curvature, gamma = 0.01, 0.1, 1.0, 0.5
    sampler = SGLDSampler(step_size=step, beta=2 / eps**2)
    # The stationary law of a quadratic is a Gaussian of variance 1 / (beta (curvature + gamma)).
    generator = torch.Generator().manual_seed(0)
    state = sampler.start(torch.zeros(20_000, dtype=torch.float64))
    for _ in range(1000):
        noise = torch.randn(20_000, generator=generator, dtype=torch.float64)
        state = sampler.step(state, (curvature + gamma) * state["x"], noise)
    found = float(state["x"].var()) * (curvature + gamma)
    return f"f = x²/2, γ = 0.5, ε = 0.1: 20,000 chains have 1/β = {found:.5f}, ε²/2 is 0.00500"


def _lemma(bend: Callable[[Tensor], Tensor], c: float, gamma: float, name: str) -> str:
    found = theory.lemma_on_a_line(bend, _axis(20, 4001), gamma, c)
    pairs = ", ".join(
        f"{what} {found[what]:.4g} (bound {found[f'{what} bound']:.4g})"
        for what in ("lipschitz", "smoothness")
    )
    return f"{name}, γ = {gamma:g}: {pairs}"


def _with_gap() -> str:
    def f(x: Tensor) -> Tensor:
        return 0.75 * x.square() + 0.25 * (1 - torch.cos(x))

    return _lemma(f, 1.0, 2.0, "f = 3x²/4 + (1 - cos x)/4, whose curvature is above c = 1")


def _without_gap() -> str:
    def f(x: Tensor) -> Tensor:
        return 8 * torch.cos(x / 4)

    name = "f = 8 cos(x/4), whose curvature is from -0.5 to 0.5, inside the gap of c = 0.1"
    return f"{_lemma(f, 0.1, 1.0, name)}: **without the assumption it fails**"


def _curvature() -> str:
    parts = []
    for eigenvalue in (10.0, 1.0, -0.5):
        quadratic = QuadraticLoss(torch.tensor([[eigenvalue]]), torch.zeros(1))
        exact = -float(quadratic.gradient(torch.ones(1), 1.0))
        found = theory.smoothed_curvature(eigenvalue, 1.0)
        parts.append(f"{eigenvalue:g} → {found:.4g} ({exact:.4g})")
    return f"γ = 1, beside the closed form: {', '.join(parts)}; negative curvature grows"


def _convex() -> str:
    at = theory.minimisers(torch.cosh, _axis(6, 1201), (0.1, 1.0, 10.0))
    worst = max(map(abs, at))
    return f"f = cosh x, γ = 0.1, 1, 10: all least within {worst:.0e} of 0"


def _skewed() -> str:
    def f(x: Tensor) -> Tensor:
        return torch.where(x < 0, x.square(), 0.1 * x.square())

    _, *moved = theory.minimisers(f, _axis(12, 2401), (0.1, 1.0, 10.0))
    places = ", ".join(f"{x:.2f}" for x in moved)
    return (
        f"f = x² below 0 and x²/10 above, γ = 0.1, 1, 10: -F is least at {places}, not at 0: "
        "**convexity alone is not enough**; symmetry or f quadratic is"
    )


def _exponent() -> str:
    parts = []
    for beta in (0.01, 0.1, 1.0):
        exact = theory.stability_exponent(beta, 0.5, 1.0)
        small = theory.stability_exponent_small_beta(beta, 0.5, 1.0)
        parts.append(f"β = {beta:g}: {exact:.4g} ({small:.4g})")
    return (
        f"exponent of α/T at c = 0.5, γ = 1, exactly (the paper's): {', '.join(parts)}; "
        "they agree to first order in β, beyond it the paper's is too large"
    )


def _model() -> theory.GaussianModel:
    return theory.GaussianModel(torch.tensor([0.3, 1.1, -0.4]), noise=0.8, prior=1.5)


def _elbo() -> str:
    model = _model()
    mean, variance = model.posterior()
    return (
        f"three samples of a Gaussian: log p(D) = {model.log_evidence():.4f}; the bound is "
        f"{model.elbo(0.0, 0.5):.4f} for q = N(0, 0.5), "
        f"{model.elbo(mean, variance):.4f} for q the posterior"
    )


def _jensen() -> str:
    model, x, gamma = _model(), 1.0, 0.7
    precision = len(model.y) / model.noise**2 + gamma
    mode = (float(model.y.sum()) / model.noise**2 + gamma * x) / precision
    return (
        f"the same model, γ = 0.7, x = 1: F = {model.local_entropy(x, gamma):.4f}; with the "
        f"entropy of q, which the paper leaves out, the bound is "
        f"{model.jensen_bound(x, gamma, 1.0, 0.5):.4f} for q = N(1, 0.5), "
        f"{model.jensen_bound(x, gamma, mode, 1 / precision):.4f} for q the law of the walk"
    )


def _toy() -> str:
    deepest, *wide = toy_landscape().minima()
    places = ", ".join(
        f"{at:g} at γ = {gamma:g}" for at, gamma in zip(wide, TOY_GAMMAS, strict=True)
    )
    return f"f is least in the narrow valley, at {deepest:g}; -F in the wide one: {places}"


THEORY_CHECKS = (
    TheoryCheck("3, Fig. 2", "F prefers wide valleys", "`landscape.toy_landscape`", _toy),
    TheoryCheck(
        "3", "F(x, γ) → -f(x) + const as γ → ∞", "`entropy.local_entropy_on_grid`", _limits
    ),
    TheoryCheck("4.1", "-∇F = γ (x - ⟨x'⟩)", "`entropy.local_entropy_on_grid`", _gradient),
    TheoryCheck(
        "4.2", "a walk with noise √η' ε has 1/β = ε²/2", "`samplers.SGLDSampler`", _temperature
    ),
    TheoryCheck(
        "4.4, B",
        "F is α/(1 + c/γ)-Lipschitz and β/(1 + c/γ)-smooth",
        "`theory.lemma_on_a_line`",
        _with_gap,
    ),
    TheoryCheck("4.4, B", "the same", "`theory.lemma_on_a_line`", _without_gap),
    TheoryCheck(
        "B",
        "A = (I + ∇²f/γ)⁻¹: curvature λ becomes λ/(1 + λ/γ)",
        "`theory.smoothed_curvature`",
        _curvature,
    ),
    TheoryCheck("4.4", "the minimiser of a convex f stays", "`theory.minimisers`", _convex),
    TheoryCheck("4.4", "the same", "`theory.minimisers`", _skewed),
    TheoryCheck(
        "4.4",
        "ε_ESGD ≲ (α/T)^p ε_SGD, p = (1 - 1/(1 + c/γ)) β",
        "`theory.stability_exponent`",
        _exponent,
    ),
    TheoryCheck(
        "C", "log p(D) ≥ E_q[log p(D\\|z)] - KL(q ‖ p)", "`theory.GaussianModel.elbo`", _elbo
    ),
    TheoryCheck(
        "C",
        "F ≥ E_q[log p(D\\|z) - γ/2 ‖x - z‖²] + H(q)",
        "`theory.GaussianModel.jensen_bound`",
        _jensen,
    ),
)
