"""Which of three ways a group's step is made: by torch's own switches, or as measures best.

- loop: a parameter at a time, each line of Algorithm 1 one pass without temporaries. The plainest.
- foreach: the same on packs of small parameters. Best for small networks, and where nothing can be
  compiled.
- fused: one kernel, noise and all, on packs too. Best from a million numbers on, and on any GPU.
"""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from widevalley.optim._kernel import available

Implementation = Literal["loop", "foreach", "fused"]

LARGE = 1 << 20
"""Numbers in a group from which a processor's kernel is worth the seconds its making takes."""


def implementation(group: Mapping[str, Any]) -> Implementation:
    """How the step of a group is made."""
    foreach, fused = group["foreach"], group["fused"]
    if fused:
        return "fused"
    if foreach is not None:
        return "foreach" if foreach else "loop"
    return "fused" if fused is None and _pays(group["params"]) else "foreach"


def _pays(params: list[Tensor]) -> bool:
    device = params[0].device
    if device.type == "cpu" and sum(p.numel() for p in params) < LARGE:
        return False
    return available(device)


def check_fused(group: Mapping[str, Any], p: Tensor) -> None:
    """Raise ValueError where the kernel is asked for and cannot be made."""
    if group.get("fused") and not available(p.device):
        needs = {"cpu": "a C++ compiler", "cuda": "Triton"}.get(p.device.type, "a CPU or CUDA")
        raise ValueError(f"fused must not be True on {p.device}: it needs {needs}")
