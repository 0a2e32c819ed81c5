"""Where several optimizers hold parts of one model, and would draw the same noise for them.

Noise is keyed by a parameter's place among those of its optimizer. That is right for one optimizer,
for replicas, and for DTensors, which know what part of a parameter they are; the parts that
ZeroRedundancyOptimizer makes have the places of the whole. Elsewhere the noise would be repeated
without a word, and so is refused unless seed or worker tell the parts apart.
"""

import sys
from typing import Any

from torch import Tensor

from widevalley.optim._validation import Group

_ZERO = "torch.distributed.optim.zero_redundancy_optimizer"


def all_under_zero() -> list[Tensor]:
    """All ranks' parameters, where the optimizer that is being made is for one rank's; else none.

    ZeroRedundancyOptimizer tells the optimizers that it makes nothing of the others.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == _ZERO:
            groups = frame.f_locals["self"].param_groups
            return [p for group in groups for p in group["params"]]
    return []


def check_parts(group: Group) -> None:
    """Raise ValueError where what this process holds would have the noise of another's."""
    if group["noise"] and any(getattr(p, "_fsdp_flattened", False) for p in group["params"]):
        raise ValueError(
            "noise must be 0 under FullyShardedDataParallel, whose shards do not know their place "
            "in a parameter and would repeat each other's noise; fully_shard's do; "
            f"got {group['noise']!r}"
        )


class Backward:
    """The optimizers that have stepped inside the backward pass in progress."""

    def __init__(self) -> None:
        self._task, self._stepped = -1, dict[tuple[int, int], int]()

    def check(self, task: int, optimizer: Any, group: Group) -> None:
        """Raise ValueError for one that would repeat the noise of another."""
        if task != self._task:
            self._task, self._stepped = task, {}
        key = int(group["seed"]), int(group["worker"])
        if group["noise"] and self._stepped.setdefault(key, id(optimizer)) != id(optimizer):
            raise ValueError(
                "worker or seed must differ between optimizers that step inside one backward "
                f"pass, which would repeat each other's noise; got worker {group['worker']!r}, "
                f"seed {group['seed']!r} twice"
            )


backward = Backward()
