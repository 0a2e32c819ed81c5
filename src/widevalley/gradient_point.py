"""Where the gradient is taken: `widevalley.optim.gradient_point`, under the package's name."""

from widevalley.optim.gradient_point import (
    AlongMomentum,
    Extrapolation,
    GradientPoint,
    Interpolation,
    Part,
    Rounding,
    Smoothing,
)

__all__ = [
    "AlongMomentum",
    "Extrapolation",
    "GradientPoint",
    "Interpolation",
    "Part",
    "Rounding",
    "Smoothing",
]
