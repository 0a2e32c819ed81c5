"""Where a captured step reads its keys and rates: the same places in the device's memory each time.

A CUDA graph repeats its kernels with the arguments they were captured with. What changes from step
to step must therefore lie in memory that the host writes to between the repeats.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from widevalley.optim._kernel import Told


class Slots:
    """A slot for each kernel of a step, in the order in which the step asks for them.

    In the rehearsal, an ordinary step, they are counted; `fix` gives them their memory. From then
    on a step takes the same ones in turn, and `fill` writes what its kernels are told.
    """

    def __init__(self) -> None:
        self._tellers: list[Callable[[], Told]] = []
        self._slots: list[Told] = []
        self._tables: list[Tensor] = []
        self._taken = 0

    def take(self, teller: Callable[[], Told]) -> Told:
        """What the next kernel is told, which `teller` knows for the step that comes."""
        if not self._slots:
            self._tellers.append(teller)
            return teller()
        told = self._slots[self._taken % len(self._slots)]
        self._taken += 1
        return told

    def fix(self, device: torch.device) -> None:
        """Give every slot its place."""
        self._tables = [rows.to(device) for rows in self._rows()]
        self._slots = list(zip(*self._tables, strict=True))

    def fill(self) -> None:
        """Write what the next step is told; the host waits for nothing."""
        for table, rows in zip(self._tables, self._rows(), strict=True):
            table.copy_(rows, non_blocking=True)

    def _rows(self) -> list[Tensor]:
        told = [teller() for teller in self._tellers]
        return [torch.stack(parts) for parts in zip(*told, strict=True)]
