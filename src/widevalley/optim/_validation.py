"""Settings: what is allowed, and the one message that says so."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from widevalley.optim._noise import LAWS

Group = dict[str, Any]
Rule = tuple[Callable[[Any], bool], str]

LARGEST = 3e38
"""Of a setting: more than this is no float32."""


def at_least(bound: float) -> Rule:
    """A finite number >= bound."""
    return lambda v: v >= bound, f">= {bound}"


def finite() -> Rule:
    """A finite number."""
    return lambda v: True, "a finite number"


def positive() -> Rule:
    """A finite number > 0."""
    return lambda v: v > 0, "> 0"


def below_one() -> Rule:
    """A number in [0, 1)."""
    return lambda v: 0 <= v < 1, "in [0, 1)"


def whole(bound: int) -> Rule:
    """A whole number >= bound, also one of NumPy's."""
    return lambda v: operator.index(v) >= bound, f"a whole number >= {bound}"


def switch() -> Rule:
    """True or False."""
    return lambda v: isinstance(v, bool), "True or False"


def check(name: str, value: Any, allowed: Callable[[Any], bool], text: str) -> None:
    """Raise ValueError naming the argument, its value and what is allowed.

    What is no finite number that float32 holds is refused by the same message, True and False
    too where a number is wanted.
    """
    try:
        number = value.item() if isinstance(value, Tensor) else value
        good = text == "True or False" or not isinstance(number, bool)
        good = good and math.isfinite(number) and abs(number) < LARGEST and allowed(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        good = False
    if not good:
        raise ValueError(f"{name} must be {text}, got {value!r}")


def _check_betas(name: str, betas: Any) -> None:
    if betas is None and name == "langevin_betas":
        return
    if not (isinstance(betas, (tuple, list)) and len(betas) == 2):
        raise ValueError(f"{name} must be two numbers in [0, 1), got {betas!r}")
    for i, beta in enumerate(betas):
        check(f"{name}[{i}]", beta, *below_one())


def check_growth(name: str, growth: Any) -> None:
    """Raise ValueError for what is neither a rate nor a schedule of the scope."""
    if not callable(growth):
        check(name, growth, lambda r: r > -1, "> -1, or a schedule (t -> factor)")
        return
    try:
        factor = growth(0)
    except TypeError as error:
        raise ValueError(
            f"{name} must map the count of outer updates to a factor: {error}"
        ) from None
    check(f"{name}(0)", factor, *at_least(0))


def _check_readout(name: str, readout: Any) -> None:
    if readout is None:
        return
    if not callable(readout):
        text = "a decay in [0, 1), a read-out (k -> weight), or None"
        check(name, readout, lambda d: 0 <= d < 1, text)
        return
    try:
        weight = readout(1)
    except TypeError as error:
        raise ValueError(f"{name} must be a read-out (k -> weight), got {readout!r}") from error
    check(f"{name}(1)", weight, lambda c: 0 < c <= 1, "in (0, 1]")


def _check_point(name: str, point: Any) -> None:
    if point is not None and (not callable(point) or isinstance(point, type)):
        raise ValueError(f"{name} must be a gradient point or None, got {point!r}")


def _check_fused(name: str, fused: Any) -> None:
    if fused not in (None, True, False):
        raise ValueError(f"{name} must be True, False or None, got {fused!r}")


def _check_law(name: str, law: Any) -> None:
    if not isinstance(law, str) or law not in LAWS:
        raise ValueError(f"{name} must be one of {', '.join(LAWS)}, got {law!r}")


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("lr", "langevin_lr", "weight_decay", "gamma", "noise", "eps"), at_least(0)),
    **dict.fromkeys(("momentum", "langevin_momentum", "outer_momentum"), below_one()),
    "averaging": (lambda v: 0 < v <= 1, "in (0, 1]"),
    **dict.fromkeys(("outer_lr", "coupling"), at_least(0)),
    "langevin_steps": whole(1),
    **dict.fromkeys(("seed", "worker", "inner_step", "outer_step", "steps"), whole(0)),
    **dict.fromkeys(("nesterov", "langevin_nesterov", "outer_nesterov", "maximize"), switch()),
    **dict.fromkeys(("momentum_on_all", "reset_momentum", "reset_inner"), switch()),
    **dict.fromkeys(("scale_by_gamma", "noise_free_mean", "preconditioned", "at_anchor"), switch()),
}
CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    "betas": _check_betas,
    "langevin_betas": _check_betas,
    "gamma_growth": check_growth,
    "readout": _check_readout,
    "gradient_point": _check_point,
    "fused": _check_fused,
    "noise_law": _check_law,
}
FUNCTIONS = ("gamma_growth", "readout", "gradient_point")
"""Settings that may be functions."""
A_FUNCTION = "a function"
"""What stands for such a one in a checkpoint, which holds plain values alone."""
RATES = frozenset(("lr", "langevin_lr", "gamma"))
"""Settings on which nothing depends that is kept."""
SHARED = ("langevin_steps", "seed", "worker")
"""Settings that are one for all groups."""


def check_setting(name: str, value: Any) -> None:
    """Raise ValueError where a setting of a parameter group is out of its range."""
    if name in RULES:
        check(name, value, *RULES[name])
    elif name in CHECKS:
        CHECKS[name](name, value)


def check_group(group: Mapping[str, Any]) -> None:
    """Check every setting of a parameter group; ValueError names the first bad one."""
    for name, value in group.items():
        check_setting(name, value)
    check_together(group)


def check_together(group: Mapping[str, Any]) -> None:
    """Raise ValueError where settings of a group, each allowed, do not go together."""
    if group.get("noise_free_mean") and group.get("momentum_on_all"):
        raise ValueError("noise_free_mean must be False where momentum_on_all is True, got True")
    if getattr(group.get("gradient_point"), "needs_readout", False) and group["readout"] is None:
        raise ValueError(f"gradient_point {group['gradient_point']!r} needs a readout, got None")
