"""Where the gradient is taken: `widevalley.optim.gradient_point`, under the package's name."""

from widevalley.optim.gradient_point import GradientPoint, Smoothing

__all__ = ["GradientPoint", "Smoothing"]
