"""Laws of weights around the end of a run, prior and Gibbs posterior, and bounds on their risk."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from widevalley.experiments.binary_mnist import BOUND
from widevalley.training import Range, check_ranges
from widevalley.valley import theory
from widevalley.valley.samplers import effective_sample_size

CHUNK = 2000
"""Samples in a forward pass."""
PAC_BAYES_RANGES: tuple[Range, ...] = (
    ("above 0", ("gamma", "walk_lr"), lambda v: v > 0),
    ("at least 1", ("draws", "passes", "walk", "batch_size"), lambda v: v >= 1),
    ("at least 2", ("records",), lambda v: v >= 2),
    ("in (0, 1)", ("delta", "sampling_delta"), lambda v: 0 < v < 1),
    ("at least 0", ("seed",), lambda v: v >= 0),
)
"""What is allowed of the settings, in words and as a test."""


@dataclass(frozen=True, kw_only=True)
class PacBayesConfig:
    """What is sampled, and with which confidence."""

    gamma: float = 1.0
    """Scope: the prior is N(x, 1 / (tau gamma)), x the end of a run."""
    draws: int = 10
    """Draws of the prior that the relative entropy is bounded by."""
    passes: int = 4
    """Passes over the samples with fresh weights for each of them, for the prior's own error."""
    walk: int = 600
    """Steps of the walk that stands in for the Gibbs posterior, after a sixth as many left out."""
    walk_lr: float = 0.02
    """Rate of its steps."""
    batch_size: int = 256
    """Of its gradients."""
    records: int = 20
    """Points of the walk that are evaluated on all samples."""
    delta: float = 0.03
    """Probability that the theorem fails."""
    sampling_delta: float = 0.01
    """That of each of three estimates by sampling: of the prior's mean of exp(-tau f), and of the
    walk's mean loss and error."""
    seed: int = 0
    """Keys draws and walk."""

    def __post_init__(self) -> None:
        check_ranges(self, PAC_BAYES_RANGES)
        if self.records > self.walk:
            raise ValueError(f"records={self.records}: must be at most walk, {self.walk}")


Samples = tuple[Tensor, Tensor]
"""Inputs and targets."""


@dataclass(frozen=True)
class Evaluated:
    """Means over samples: loss in nats, and the share that is classified wrongly."""

    loss: float
    error: float


@torch.no_grad()
def evaluated(model: nn.Module, inputs: Tensor, targets: Tensor) -> Evaluated:
    """Evaluate a network that has no dropout and no batch norm."""
    loss = wrong = 0.0
    for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
        scores = model(x)
        loss += float(functional.cross_entropy(scores, y, reduction="sum"))
        wrong += float((scores.argmax(dim=1) != y).sum())
    return Evaluated(loss / len(targets), wrong / len(targets))


@torch.no_grad()
def fresh_weights_error(
    model: nn.Module, inputs: Tensor, targets: Tensor, std: float, generator: torch.Generator
) -> float:
    """Share of samples classified wrongly, each by weights of its own from N(w, std^2 I).

    A linear layer with fresh weights gives each sample independent Gaussians, of mean W h + b and
    variance std^2 (|h|^2 + 1), so that no weights need be drawn.
    """
    assert isinstance(model, nn.Sequential)
    wrong = 0.0
    for x, y in zip(torch.split(inputs, CHUNK), torch.split(targets, CHUNK), strict=True):
        for layer in model:
            h, x = x, layer(x)
            if isinstance(layer, nn.Linear):
                spread = std * (h.square().sum(dim=1, keepdim=True) + 1).sqrt()
                x = x + spread * torch.randn(x.shape, generator=generator)
        wrong += float((x.argmax(dim=1) != y).sum())
    return wrong / len(targets)


@dataclass(frozen=True)
class Laws:
    """Prior and Gibbs posterior around the end of a run."""

    model: nn.Module
    train: Samples
    test: Samples
    tau: float
    config: PacBayesConfig

    @property
    def samples(self) -> int:
        """How many training samples there are."""
        return len(self.train[1])

    @property
    def epsilon(self) -> float:
        """Of the privacy of the end, one draw at this temperature."""
        return theory.pac_bayes.exponential_mechanism(self.tau, BOUND, self.samples)

    @property
    def std(self) -> float:
        """Spread of the prior in every weight."""
        return 1 / math.sqrt(self.tau * self.config.gamma)

    def bound(self, error: float, kl: float) -> float:
        """What the risk of a law is at most, of this error and relative entropy to the prior."""
        return theory.pac_bayes.risk_bound(
            error, kl, self.samples, self.config.delta, epsilon=self.epsilon
        )

    def of_the_end(self) -> dict[str, float]:
        """Errors of the weights themselves, of which the theorem says nothing."""
        return {
            "end train error": evaluated(self.model, *self.train).error,
            "end test error": evaluated(self.model, *self.test).error,
        }

    def of_the_prior(self) -> dict[str, float]:
        """The prior as its own posterior: no relative entropy, and draws that are independent."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)

        def error(samples: Samples) -> float:
            return fresh_weights_error(self.model, *samples, self.std, generator)

        on_train = math.fsum(error(self.train) for _ in range(config.passes)) / config.passes
        draws = config.passes * self.samples
        most = theory.pac_bayes.chernoff_bound(on_train, draws, config.sampling_delta)
        return {
            "prior train error": on_train,
            "prior test error": error(self.test),
            "prior bound": self.bound(most, 0.0),
        }

    def of_the_posterior(self, walk: Iterable[nn.Module]) -> dict[str, float]:
        """The Gibbs law, points of a walk standing in for independent draws."""
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        drawn = (perturbed(self.model, self.std, generator) for _ in range(config.draws))
        losses = [evaluated(model, *self.train).loss for model in drawn]
        points = [(evaluated(model, *self.train), evaluated(model, *self.test)) for model in walk]
        loss, loss_error = _mean_and_error(train.loss for train, _ in points)
        share, share_error = _mean_and_error(train.error for train, _ in points)
        # One side of a normal interval for what the walk's length leaves unknown.
        quantile = NormalDist().inv_cdf(1 - config.sampling_delta)
        least = max(0.0, loss - quantile * loss_error)
        kl = theory.pac_bayes.gibbs_kl_bound(
            losses, self.tau, config.sampling_delta, posterior_loss=least
        )
        return {
            "Gibbs train error": share,
            "Gibbs test error": math.fsum(test.error for _, test in points) / len(points),
            "KL": kl,
            "Gibbs bound": self.bound(min(1.0, share + quantile * share_error), kl),
        }


def _mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean of a chain and its standard error."""
    chain = np.array(list(values))
    return float(chain.mean()), float(
        chain.std(ddof=1) / math.sqrt(effective_sample_size(chain[None]))
    )


def perturbed(model: nn.Module, std: float, generator: torch.Generator) -> nn.Module:
    """A copy with noise in every weight."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(std * torch.randn(p.shape, generator=generator))
    return moved
