"""Every measure of flatness of a loss at its weights, with its error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from widevalley.experiments.flatness_record import Measure, Measures, Quantity
from widevalley.experiments.run_end import LossConfig, Precision
from widevalley.valley import Estimate, Hessian, Objective, extreme_eigenvalues, trace
from widevalley.valley.entropy import entropy_differences, entropy_gradient_norm, laplace
from widevalley.valley.hessian import ExtremeEigenvalues
from widevalley.valley.landscape import local_energy, sharpness
from widevalley.valley.samplers import Chains, SGLDSampler, mean_and_error, sample

STEP_TIMES_CURVATURE = 0.5
"""A walk's step times the largest curvature it meets; above 2 the walk would be unstable."""


@dataclass(frozen=True, kw_only=True)
class FlatnessConfig(LossConfig):
    """What is measured, where and how well."""

    chunk: int = 1000
    """Samples in a batch. The walks take one a step: fewer than `samples` add mini-batch noise."""
    dtype: Precision = "float32"
    """Of all arithmetic."""
    radii: tuple[float, ...] = (0.005, 0.01, 0.02)
    """Standard deviations of weight noise."""
    relative_radii: tuple[float, ...] = (0.1, 0.2, 0.4)
    """The same as shares of each weight's magnitude."""
    ascents: tuple[float, ...] = (0.05, 0.5)
    """Radii of sharpness."""
    energies: int = 20
    """Draws of weight noise."""
    products: int = 30
    """Hessian products for the trace."""
    steps: int = 30
    """Lanczos steps: for the extreme eigenvalues up to ten times as many."""
    probes: int = 6
    """Lanczos directions of Laplace's method."""
    gammas: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Scopes of the local entropy, ascending."""
    beta: float = 60_000.0
    """Inverse temperature of the local entropy."""
    walk: int = 200
    """Recorded steps of a walk; half as many go before them."""
    chains: int = 2
    """Walks at each scope; 0 leaves them out."""
    seed: int = 0
    """Keys everything random."""


def measure_all(
    objective: Objective, config: FlatnessConfig, walks: Path, report: Callable[[str], None]
) -> Measures:
    """All measures at an objective's weights; raw walks go to `walks`, progress to `report`."""
    report("noise and ascent")
    measures = _by_perturbation(objective, config)
    report("trace and extreme eigenvalues")
    hessian = Hessian(objective)
    measures[Quantity.TRACE.value] = trace(hessian, products=config.products, seed=config.seed)
    ends = extreme_eigenvalues(hessian, steps=10 * config.steps, tolerance=1e-2, seed=config.seed)
    measures[Quantity.LARGEST_EIGENVALUE.value] = Estimate(ends.largest[0], ends.largest_bounds[0])
    measures[Quantity.SMALLEST_EIGENVALUE.value] = Estimate(
        ends.smallest[0], ends.smallest_bounds[0]
    )
    report("local entropy by Laplace's method")
    measures |= _by_laplace(hessian, config, ends, report)
    if config.chains:
        measures |= _by_walks(objective, config, ends, walks, report)
    return measures


def _by_perturbation(objective: Objective, config: FlatnessConfig) -> Measures:
    """The loss itself, its mean under weight noise, and its rise along the steepest ascent."""
    measures = {Quantity.LOSS.value: Estimate(objective.value(), 0.0)}
    energy = partial(local_energy, objective, samples=config.energies, seed=config.seed)
    for radius in config.radii:
        measures[_name(Quantity.LOCAL_ENERGY, radius)] = energy(radius)
    for radius in config.relative_radii:
        measures[_name(Quantity.RELATIVE_LOCAL_ENERGY, radius)] = energy(radius, relative=True)
    for radius in config.ascents:
        found = Estimate(sharpness(objective, radius), 0.0)
        measures[_name(Quantity.SHARPNESS, radius)] = found
    return measures


def _by_laplace(
    hessian: Hessian,
    config: FlatnessConfig,
    ends: ExtremeEigenvalues,
    report: Callable[[str], None],
) -> Measures:
    """-F at the scopes above the most negative curvature, below which there is no expansion."""
    least = ends.smallest[0] - ends.smallest_bounds[0]
    gammas = [gamma for gamma in config.gammas if gamma > -least]
    if len(gammas) < len(config.gammas):
        report(f"no expansion at scopes up to {-least:.3g}, the most negative curvature")
    if not gammas:
        return {}
    found = laplace(
        hessian,
        gammas,
        beta=config.beta,
        steps=config.steps,
        probes=config.probes,
        seed=config.seed,
    )
    measures: Measures = {}
    for quantity, estimates in (
        (Quantity.LOGDET_TERM, found.logdet_term),
        (Quantity.ENTROPY_EXCESS, found.excess),
    ):
        for gamma, estimate in zip(gammas, estimates, strict=True):
            measures[_name(quantity, gamma)] = estimate
    # The difference that the walks give too; it takes the whole range of scopes.
    if len(gammas) == len(config.gammas):
        first, last = found.excess[0], found.excess[-1]
        both = Estimate(first.value - last.value, math.hypot(first.error, last.error))
        measures[_between(config, "Laplace")] = both
    return measures


def _by_walks(
    objective: Objective,
    config: FlatnessConfig,
    ends: ExtremeEigenvalues,
    walks: Path,
    report: Callable[[str], None],
) -> Measures:
    """The same difference by thermodynamic integration, and what the walks show on their way."""
    losses: Measures = {}
    gradients: Measures = {}
    chains: list[Chains] = []
    walks.mkdir(parents=True, exist_ok=True)
    for gamma in config.gammas:
        report(f"walks of scope {gamma:g}")
        step = STEP_TIMES_CURVATURE / (ends.largest[0] + gamma)
        walk = sample(
            objective,
            SGLDSampler(step_size=step, beta=config.beta),
            gamma,
            steps=config.walk,
            burn_in=config.walk // 2,
            chains=config.chains,
            seed=config.seed,
        )
        walk.save(walks / f"gamma-{gamma:g}.npz")
        mean, error = mean_and_error(walk.loss, f"loss of the walks of scope {gamma:g}")
        excess = Estimate(mean - objective.value(), error)
        losses[_name(Quantity.WALK_LOSS_EXCESS, gamma)] = excess
        gradient = Estimate(entropy_gradient_norm(walk), math.nan)
        gradients[_name(Quantity.ENTROPY_GRADIENT, gamma)] = gradient
        chains.append(walk)
    last = entropy_differences(chains, subtract_flat=True)[-1]
    # -F at the first scope less -F at the last, as by Laplace's method.
    difference = {_between(config, "walks"): Estimate(-last.value, last.error)}
    return difference | losses | gradients


def _name(quantity: Quantity, at: float) -> str:
    return Measure(quantity, f"{at:g}").name


def _between(config: FlatnessConfig, method: str) -> str:
    scopes = f"{config.gammas[0]:g} to {config.gammas[-1]:g} by {method}"
    return Measure(Quantity.ENTROPY_EXCESS, scopes).name
