"""Averages of the anchors: those of `widevalley.optim.readout`, under the package's name."""

from widevalley.optim.readout import EMA, PowerLaw, ReadOut, Uniform, Weighted

__all__ = ["EMA", "PowerLaw", "ReadOut", "Uniform", "Weighted"]
