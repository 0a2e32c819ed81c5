"""All eigenvalues of a curvature matrix, with the checks that make them believable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from widevalley.valley._storage import read_as, write_arrays
from widevalley.valley.hessian.assembly import AssembledMatrix, assemble
from widevalley.valley.hessian.curvature import Curvature
from widevalley.valley.hessian.eigvalsh import SpectrumError, eigenvalues_
from widevalley.valley.objective import Progress

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Relative disagreement that is taken for rounding."""
ROWS = 1024


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of an (n, n) matrix."""

    values: np.ndarray
    """Those of the weights that the loss depends on, ascending."""
    size: int
    """n."""
    checks: dict[str, float] = field(default_factory=dict)
    """How well it came out: largest `asymmetry` over the largest entry; relative errors of random
    `products`, of the `trace` and of the `frobenius` norm."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What it is of and how it was made, in plain values."""
    probed: np.ndarray = field(default_factory=lambda: np.empty(0))
    """Eigenvalues of the estimate by random probes of the same matrix; see `probed_values`."""

    @property
    def structural_zeros(self) -> int:
        """Weights that the loss does not depend on at all; their eigenvalues are zero."""
        return self.size - len(self.values)

    @property
    def largest(self) -> float:
        """The largest eigenvalue; 0 where the loss depends on nothing."""
        return float(self.values[-1]) if len(self.values) else 0.0

    @property
    def smallest(self) -> float:
        """The smallest one, likewise."""
        return float(self.values[0]) if len(self.values) else 0.0

    def fraction_below(self, magnitude: float) -> float:
        """Fraction of all eigenvalues, structural zeros among them, below a magnitude."""
        small = int((np.abs(self.values) < magnitude).sum())
        return (small + self.structural_zeros) / self.size

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        plain = {"size": self.size, "checks": self.checks, "facts": self.facts}
        write_arrays(file, plain, values=self.values, probed=self.probed)

    @classmethod
    def load(cls, file: Path) -> Spectrum:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        return read_as(cls, file)


def exact_spectrum(
    operator: Curvature,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    probes: int = 0,
) -> Spectrum:
    """All eigenvalues: the matrix is built, checked, and reduced in its own memory.

    Args:
        operator: the curvature; its dtype is that of everything here. float64 says how many
            eigenvalues are small, float32 cannot below about 1e-7 of the largest.
        folder: where finished blocks of the matrix are stored, to go on from after a stop.
        progress: called with columns done and columns in all while the matrix is built.
        probes: also make the estimate by this many random probes (`probed_values`).

    Raises:
        MemoryError: the matrix does not fit; says how much is needed and how much is free.
        SpectrumError: products, trace or Frobenius norm disagree.
    """
    matrix = assemble(operator, folder=folder, progress=progress)
    products = _product_error(operator, matrix)
    probed = probed_values(matrix, probes) if probes else np.empty(0)
    trace, frobenius = float(matrix.values.diagonal().double().sum()), _frobenius(matrix.values)
    values = eigenvalues_(matrix.values).double().cpu().numpy()
    checks = {
        "asymmetry": matrix.asymmetry,
        "products": products,
        "trace": abs(values.sum() - trace) / max(np.abs(values).sum(), 1e-300),
        "frobenius": abs(np.sqrt((values**2).sum()) - frobenius) / max(frobenius, 1e-300),
    }
    failed = {name: gap for name, gap in checks.items() if not gap < TOLERANCE[operator.precision]}
    if failed:
        raise SpectrumError(f"the matrix or its eigenvalues are wrong: {failed}")
    return Spectrum(values, matrix.size, checks, probed=probed)


def probed_values(matrix: AssembledMatrix, probes: int, *, seed: int = 0) -> np.ndarray:
    """Nonzero eigenvalues of (1/k) H Z Z^T, the estimate of H by k Gaussian probes Z.

    They are those of Z^T H Z / k. All other eigenvalues of the estimate, n - k of them, are zero
    whatever H is.
    """
    generator = torch.Generator().manual_seed(seed)
    values = matrix.values
    z = torch.randn(len(values), probes, generator=generator, dtype=torch.float64).to(values)
    small = z.T @ (values @ z) / probes
    found: np.ndarray = torch.linalg.eigvalsh(small.double()).cpu().numpy()
    return found


def _product_error(operator: Curvature, matrix: AssembledMatrix) -> float:
    """Largest relative error of two random products with the matrix."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(matrix.size, 2, generator=generator, dtype=torch.float64)
    z = z.to(operator.device, operator.dtype)
    expected = operator @ z
    found = torch.zeros_like(expected)
    found[matrix.support] = matrix.values @ z[matrix.support]
    # Of a zero matrix, a loss that is linear around the weights, both are zero.
    return float(((found - expected).norm(dim=0) / expected.norm(dim=0).clamp_min(1e-300)).max())


def _frobenius(values: Tensor) -> float:
    squares = [float(rows.double().square().sum()) for rows in torch.split(values, ROWS)]
    return float(np.sqrt(sum(squares)))
