"""The loss around weights: slices and planes, its rise under perturbations, Fig. 2's toy."""

from widevalley.valley.landscape.curves import BezierCurve, fit_curve, loss_along
from widevalley.valley.landscape.perturbations import local_energy, sharpness
from widevalley.valley.landscape.slices import (
    Slice,
    lines,
    plane,
    plane_through,
    random_direction,
)
from widevalley.valley.landscape.toy import TOY_GAMMAS, ToyLandscape, toy_landscape

__all__ = [
    "TOY_GAMMAS",
    "BezierCurve",
    "Slice",
    "ToyLandscape",
    "fit_curve",
    "lines",
    "local_energy",
    "loss_along",
    "plane",
    "plane_through",
    "random_direction",
    "sharpness",
    "toy_landscape",
]
