"""The measures of flatness at the ends of runs, as they stand in a file.

A file is a JSON list, an entry a run: its name and seed, value and error of each measure by name,
and the facts they depend on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from widevalley._files import atomic_write
from widevalley.valley import Estimate


class Quantity(StrEnum):
    """What is measured; the value begins a measure's name in files, tables and pictures."""

    LOSS = "loss"
    LOCAL_ENERGY = "local energy"
    RELATIVE_LOCAL_ENERGY = "relative local energy"
    SHARPNESS = "sharpness"
    TRACE = "trace"
    LARGEST_EIGENVALUE = "largest eigenvalue"
    SMALLEST_EIGENVALUE = "smallest eigenvalue"
    LOGDET_TERM = "entropy walls"
    ENTROPY_EXCESS = "entropy rise"
    WALK_LOSS_EXCESS = "rise of the loss in the walk"
    ENTROPY_GRADIENT = "entropy gradient"


IN_WORDS = {
    Quantity.LOSS: "training loss",
    Quantity.LOCAL_ENERGY: "rise of the loss under noise of {at} in every weight",
    Quantity.RELATIVE_LOCAL_ENERGY: "rise of the loss under noise of {share} of every weight",
    Quantity.SHARPNESS: "largest rise of the loss within a distance of {at}",
    Quantity.TRACE: "trace of the Hessian",
    Quantity.LARGEST_EIGENVALUE: "largest eigenvalue of the Hessian",
    Quantity.SMALLEST_EIGENVALUE: "most negative eigenvalue of the Hessian",
    Quantity.LOGDET_TERM: "curvature's part of -F, γ = {at}",
    Quantity.ENTROPY_EXCESS: "-F above the loss, γ = {at}",
    Quantity.WALK_LOSS_EXCESS: "rise of the loss along walks, γ = {at}",
    Quantity.ENTROPY_GRADIENT: "size of the gradient of F, γ = {at}",
}
"""F is the local entropy and γ its scope."""


@dataclass(frozen=True)
class Measure:
    """A quantity, and the radius, the scope or scopes that it is measured at."""

    quantity: Quantity
    at: str = ""

    @property
    def name(self) -> str:
        """What it is called in files, tables and pictures."""
        return f"{self.quantity} {self.at}".rstrip()

    @classmethod
    def named(cls, name: str) -> Measure:
        """The measure of this `name`. Raises ValueError where there is none."""
        fitting = [q for q in Quantity if name == q or name.startswith(f"{q} ")]
        if not fitting:
            raise ValueError(f"measure {name!r}: must begin with one of {', '.join(Quantity)}")
        return cls(fitting[0], name.removeprefix(fitting[0]).lstrip())

    @property
    def speaks_of_width(self) -> bool:
        """Whether it grows as a valley narrows; the others say where in it a run ended."""
        return self.quantity not in (
            Quantity.LOSS,
            Quantity.SMALLEST_EIGENVALUE,
            Quantity.ENTROPY_GRADIENT,
        )

    @property
    def in_words(self) -> str:
        """What is measured, for a reader who knows none of the names."""
        words = IN_WORDS[self.quantity]
        share = f"{100 * float(self.at):g} %" if "{share}" in words else ""
        return words.format(at=self.at, share=share)


Measures = dict[str, Estimate]
"""Estimates by the name of their measure; where one has no random part its error is 0."""


@dataclass(frozen=True)
class Flatness:
    """The measures at the end of one run."""

    run: str
    """Its name and seed: `entropy-sgd/seed-0`."""
    measures: Measures
    facts: dict[str, Any] = field(default_factory=dict)
    """What they are of and how they were made, in plain values."""

    @property
    def name(self) -> str:
        """The run's name, without its seed."""
        return self.run.rpartition("/")[0] or self.run


def load_flatness(file: Path) -> list[Flatness]:
    """What `save_flatness` wrote. Raises ValueError naming the file where it is not that."""

    def estimate(value: float, error: float | None, degrees: float = math.inf) -> Estimate:
        return Estimate(value, math.nan if error is None else error, degrees)

    try:
        return [
            Flatness(
                each["run"],
                {
                    Measure.named(name).name: estimate(*pair)
                    for name, pair in each["measures"].items()
                },
                each["facts"],
            )
            for each in json.loads(file.read_text())
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: not a file of flatness measures ({error!r})") from error


def save_flatness(found: Sequence[Flatness], file: Path) -> None:
    """Write measures to `file`, which others may be reading; JSON has null for an unknown error."""
    plain = [
        {
            "run": each.run,
            "measures": {name: _plain(estimate) for name, estimate in each.measures.items()},
            "facts": each.facts,
        }
        for each in found
    ]
    with atomic_write(file) as out:
        out.write(json.dumps(plain, indent=1).encode())


def _plain(estimate: Estimate) -> list[float | None]:
    """Value, error and, where there are not infinitely many, its degrees of freedom."""
    error = None if math.isnan(estimate.error) else estimate.error
    degrees = [] if math.isinf(estimate.degrees) else [estimate.degrees]
    return [estimate.value, error, *degrees]
