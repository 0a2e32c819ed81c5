"""What numbers a dataclass of settings allows, checked as it is made: before all else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

Range = tuple[str, tuple[str, ...], Callable[[float], bool]]
"""What is allowed, in words and as a test, of the fields of these names."""


def check_ranges(settings: Any, ranges: Iterable[Range]) -> None:
    """Raise ValueError naming the field, its value and what is allowed; names it lacks are passed.

    Of a tuple every number is checked. What is not finite is refused everywhere.
    """
    own = {field.name for field in fields(settings)}
    for allowed, names, fits in ranges:
        for name in own.intersection(names):
            value = getattr(settings, name)
            for number in value if isinstance(value, tuple) else (value,):
                # Compared, not converted: an int may be too large for a float.
                if not abs(number) < math.inf or not fits(number):
                    finite = " and finite" if abs(number) == math.inf else ""
                    raise ValueError(f"{name}={value}: must be {allowed}{finite}")
