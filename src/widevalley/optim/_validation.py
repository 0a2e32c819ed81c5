"""Hyper-parameters: what is allowed, and the one message that says so."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Rule = tuple[Callable[[Any], bool], str]


def at_least(bound: float) -> Rule:
    """A finite number >= bound."""
    return lambda v: v >= bound, f">= {bound}"


def positive() -> Rule:
    """A finite number > 0."""
    return lambda v: v > 0, "> 0"


def below_one() -> Rule:
    """A number in [0, 1)."""
    return lambda v: 0 <= v < 1, "in [0, 1)"


def whole(bound: int) -> Rule:
    """A whole number >= bound."""
    return (
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= bound,
        f"a whole number >= {bound}",
    )


def check(name: str, value: Any, allowed: Callable[[Any], bool], text: str) -> None:
    """Raise ValueError naming the argument, its value and what is allowed.

    A value that is no number at all, or not finite, is refused by the same message.
    """
    try:
        number = float(value.item()) if isinstance(value, Tensor) else value
        good = math.isfinite(number) and allowed(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        good = False
    if not good:
        raise ValueError(f"{name} must be {text}, got {value!r}")


def _check_betas(name: str, betas: Any) -> None:
    if not (isinstance(betas, (tuple, list)) and len(betas) == 2):
        raise ValueError(f"{name} must be two numbers in [0, 1), got {betas!r}")
    for i, beta in enumerate(betas):
        check(f"{name}[{i}]", beta, *below_one())


def _check_growth(growth: Any) -> None:
    if not callable(growth):
        check("gamma_growth", growth, lambda r: r > -1, "> -1, or a schedule (t -> factor)")


RULES: Mapping[str, Rule] = {
    "lr": at_least(0),
    "langevin_lr": at_least(0),
    "momentum": below_one(),
    "langevin_momentum": below_one(),
    "weight_decay": at_least(0),
    "gamma": at_least(0),
    "noise": at_least(0),
    "eps": at_least(0),
    "langevin_steps": whole(1),
    "seed": whole(0),
    "worker": whole(0),
}
CONVENTIONS = ("paper", "released")
SHARED = ("langevin_steps", "seed", "worker")


def _check_switches(group: Mapping[str, Any]) -> None:
    if group.get("state_dtype") not in (None, torch.bfloat16):
        raise ValueError(
            f"state_dtype must be None or torch.bfloat16, got {group['state_dtype']!r}"
        )
    if group.get("offload_anchor") not in (None, True, False):
        raise ValueError(f"offload_anchor must be True or False, got {group['offload_anchor']!r}")
    for name in ("foreach", "fused"):
        if group.get(name) not in (None, True, False):
            raise ValueError(f"{name} must be True, False or None, got {group[name]!r}")
    if group.get("foreach") and group.get("fused"):
        raise ValueError("foreach and fused must not both be True")


def check_group(group: Mapping[str, Any]) -> None:
    """Check every hyper-parameter of a parameter group; ValueError names the first bad one."""
    for name, rule in RULES.items():
        if name in group:
            check(name, group[name], *rule)
    for name in ("betas", "langevin_betas"):
        if group.get(name) is not None:
            _check_betas(name, group[name])
    _check_switches(group)
    if "gamma_growth" in group:
        _check_growth(group["gamma_growth"])
    if "averaging" in group:
        _check_averaging(group["averaging"], group.get("convention", "paper"))
    if group.get("convention") == "released" and group.get("momentum"):
        raise ValueError(
            "momentum must be 0 with convention='released', whose outer step has none, "
            f"got {group['momentum']!r}"
        )


def _check_averaging(averaging: Any, convention: Any) -> None:
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {CONVENTIONS}, got {convention!r}")
    if convention == "released":
        check("averaging", averaging, *below_one())
    else:
        check("averaging", averaging, lambda a: 0 < a <= 1, "in (0, 1]")
