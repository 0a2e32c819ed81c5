"""The optimizers as the tests see them: how to build each, and what it is able to do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from widevalley import SGLD, Conventions, EntropyAdam, EntropySGD, LocalEntropy


@dataclass(frozen=True)
class OptimizerInfo:
    """One optimizer in one configuration, and the properties it must have."""

    name: str
    build: Callable[..., torch.optim.Optimizer]
    anchored: bool = True  # has an anchor, a walk and a swap
    widens: bool = True  # keeps float32 state beside bf16 and fp16 parameters
    maximizes: bool = True  # takes maximize=True itself

    def __str__(self) -> str:
        return self.name


def local_entropy(params: Any, inner: Any, outer: Any, **settings: Any) -> LocalEntropy:
    """`inner` and `outer` build an optimizer each from parameters or groups."""
    given = list(params)
    plain = [{"params": list(g["params"])} if isinstance(g, dict) else g for g in given]
    return LocalEntropy(inner(plain), outer(given), **settings)


def build(kind: type, params: Any, **settings: Any) -> Any:
    """An optimizer, from settings among which those of `Conventions` stand by their own names."""
    fields = Conventions.__dataclass_fields__
    chosen = {name: settings.pop(name) for name in list(settings) if name in fields}
    if chosen:
        settings["conventions"] = Conventions(**chosen)
    return kind(params, **settings)


def entropy_sgd(params: Any, **settings: Any) -> EntropySGD:
    return EntropySGD(params, **{"langevin_steps": 3, "noise": 0.1, "gamma": 0.5, **settings})


def entropy_adam(params: Any, **settings: Any) -> EntropyAdam:
    base = {"lr": 0.1, "langevin_steps": 3, "noise": 0.1, "gamma": 0.5}
    return EntropyAdam(params, **{**base, **settings})


def sgd_sgd(params: Any, *, lr: float = 0.8, **settings: Any) -> LocalEntropy:
    return local_entropy(
        params,
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=lr, momentum=0.5),
        **{"langevin_steps": 3, "noise": 0.1, "gamma": 0.5, **settings},
    )


def adamw_adam(params: Any, *, lr: float = 0.1, **settings: Any) -> LocalEntropy:
    return local_entropy(
        params,
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.Adam(p, lr=lr),
        **{"langevin_steps": 3, "noise": 0.1, "gamma": 1e-4, **settings},
    )


def adamw(params: Any, *, lr: float = 0.01, **settings: Any) -> LocalEntropy:
    base = {"langevin_steps": 3, "outer_lr": 0.8, "outer_momentum": 0.5}
    base |= {"averaging": 1.0, "noise": 0.1}
    return LocalEntropy(torch.optim.AdamW(params, lr=lr), **{**base, **settings})


EXPLORING = {"langevin_steps": 3, "noise": 0.1, "gamma": 0.5}

OPTIMIZERS = [
    OptimizerInfo("entropy-sgd", entropy_sgd),
    OptimizerInfo("entropy-sgd, momenta", lambda p, **s: entropy_sgd(p, **{"momentum": 0.5, **s})),
    OptimizerInfo(
        "entropy-sgd, two-point", lambda p, **s: entropy_sgd(p, **{"noise_law": "two-point", **s})
    ),
    OptimizerInfo(
        "entropy-sgd, last iterate", lambda p, **s: entropy_sgd(p, **{"averaging": 1.0, **s})
    ),
    OptimizerInfo(
        "entropy-sgd, noise-free mean",
        lambda p, **s: build(EntropySGD, p, noise_free_mean=True, **{**EXPLORING, **s}),
    ),
    OptimizerInfo("entropy-adam", entropy_adam),
    OptimizerInfo(
        "entropy-adam, Adam walk",
        lambda p, **s: entropy_adam(p, langevin_betas=(0.9, 0.99), langevin_lr=0.01, **s),
    ),
    OptimizerInfo("local-entropy, SGD SGD", sgd_sgd, widens=False, maximizes=False),
    OptimizerInfo("local-entropy, AdamW Adam", adamw_adam, widens=False, maximizes=False),
    OptimizerInfo(
        "local-entropy, AdamW", lambda p, **s: adamw(p, **s), widens=False, maximizes=False
    ),
    OptimizerInfo(
        "local-entropy, AdamW, noise-free mean",
        lambda p, **s: adamw(p, **{"noise_free_mean": True, "gamma": 0.5, **s}),
        widens=False,
        maximizes=False,
    ),
    OptimizerInfo(
        "local-entropy, AdamW, preconditioned",
        lambda p, **s: adamw(
            p, **{"preconditioned": True, "noise_free_mean": True, "gamma": 0.5, **s}
        ),
        widens=False,
        maximizes=False,
    ),
    OptimizerInfo("sgld", lambda p, **s: SGLD(p, **{"lr": 0.1, "noise": 0.1, **s}), anchored=False),
]
ANCHORED = [info for info in OPTIMIZERS if info.anchored]

BUILDS = {
    "entropy-sgd": entropy_sgd,
    "entropy-adam": entropy_adam,
    "AdamW": adamw,
    "SGD SGD": sgd_sgd,
    "AdamW Adam": adamw_adam,
}
"""Of each kind with an anchor one, by what walks and what moves the anchor."""
