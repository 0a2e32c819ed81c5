"""Averages of the anchors: those of `widevalley.optim.readout`, under the package's name."""

from widevalley.optim.readout import Exponential, PowerLaw, ReadOut, Uniform, Weighted

__all__ = ["Exponential", "PowerLaw", "ReadOut", "Uniform", "Weighted"]
