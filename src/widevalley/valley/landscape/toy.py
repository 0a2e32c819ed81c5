"""The one-dimensional landscape of the paper's Fig. 2: a narrow deep valley and a wide one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from widevalley.valley._storage import read_arrays, write_arrays
from widevalley.valley.entropy.closed_forms import local_entropy_on_grid

POINTS = 1000
"""Of the grid, 1 apart."""
SCALE = 5e-4
"""From the smoothed force to the loss."""
WIDE, NARROW = (200, 400, -80.0), (800, 820, -200.0)
"""Wells of the force before smoothing: from, to, depth."""
WIDTH = 10.0
"""Of the Gaussian that smooths it."""
MARGIN = 3.0
"""How far the landscape goes on beyond what is shown, in standard widths of the widest scope."""
TOY_GAMMAS = (1e-3, 5e-5)
"""The scopes of the paper's figure."""


@dataclass(frozen=True)
class ToyLandscape:
    """A landscape on a grid with its negative local entropies, each up to a constant."""

    x: Tensor
    loss: Tensor
    gammas: tuple[float, ...]
    entropies: tuple[Tensor, ...]
    """-F less its least value, one for each scope."""
    seed: int = 0
    """Of the noise."""

    def save(self, file: Path) -> None:
        """Write everything to an .npz file."""
        plain = {"gammas": self.gammas, "seed": self.seed}
        entropies = torch.stack(self.entropies).numpy()
        write_arrays(file, plain, x=self.x.numpy(), loss=self.loss.numpy(), entropies=entropies)

    @classmethod
    def load(cls, file: Path) -> ToyLandscape:
        """Read what `save` wrote. Raises ValueError naming the file where it is not that."""
        read = read_arrays(file)
        if "entropies" not in read:
            raise ValueError(f"{file}: holds no toy landscape")
        x, loss, entropies = (torch.from_numpy(read[k]) for k in ("x", "loss", "entropies"))
        return cls(x, loss, tuple(read["gammas"]), tuple(entropies), read["seed"])

    def minima(self) -> tuple[float, ...]:
        """Where the loss, then each -F, is least."""
        return tuple(float(self.x[values.argmin()]) for values in (self.loss, *self.entropies))


def toy_landscape(gammas: tuple[float, ...] = TOY_GAMMAS, *, seed: int = 0) -> ToyLandscape:
    """Noise with two wells, smoothed, and its local entropy at several scopes.

    Follows the recipe of the paper's figure with noise of its own: 1,000 points, Gaussian noise of
    nearly the depth of the shallower well, and wells as in `WIDE` and `NARROW`, all smoothed. Noise
    goes on beyond both ends, by three standard widths of the widest scope, so that the local
    entropy does not rise there for want of anything to integrate over.

    Args:
        gammas: scopes, each above 0; the smaller, the wider the view.
        seed: keys the noise.

    Raises:
        ValueError: a scope not above 0.
    """
    for gamma in gammas:
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma={gamma}: must be above 0 and finite")
    beyond = math.ceil(MARGIN / math.sqrt(min(gammas)))
    x = torch.arange(-beyond, POINTS + beyond, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    # The noise of what is shown comes first: it is the same whatever lies beyond.
    shown, before, after = (
        60 * torch.randn(n, generator=generator, dtype=torch.float64)
        for n in (POINTS, beyond, beyond)
    )
    for begin, end, depth in (WIDE, NARROW):
        shown[begin:end] += depth
    kernel = torch.exp(-0.5 * ((x[:, None] - x[None, :]) / WIDTH) ** 2)
    loss = SCALE * kernel @ torch.cat([before, shown, after])
    inside = slice(beyond, beyond + POINTS)
    entropies = [-local_entropy_on_grid(loss, [x], gamma)[inside] for gamma in gammas]
    x, loss = x[inside], loss[inside]
    return ToyLandscape(
        x, loss, tuple(gammas), tuple(each - each.min() for each in entropies), seed
    )
