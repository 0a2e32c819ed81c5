"""Many workers: how those of a process group walk together, and what they send each other.

An optimizer takes a process group, or `Workers` where more than the group is chosen::

    EntropySGD(model.parameters(), process_group=group)
    EntropySGD(model.parameters(), process_group=Workers(group, delay=5, compression=TopK(1 / 64)))
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from widevalley.optim._validation import at_least, check, check_growth, positive, whole
from widevalley.optim.scoping import Exponential, Schedule

if TYPE_CHECKING:  # there are builds of torch without
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class BFloat16:
    """Two bytes a number, summed in bfloat16 by the all-reduce."""


@dataclass(frozen=True)
class EightBits:
    """One byte a number: blocks of 1,024 in units of 1/127 of their largest.

    Every worker has the codes of all, by an all-gather of N (n - 1) bytes: below 8 workers less
    than an all-reduce of float32 sends, 8 N (n - 1) / n, below 4 less than one of bfloat16.
    """

    block = 1024

    def encode(self, numbers: Tensor) -> Tensor:
        """The bytes of a flat tensor of float32."""
        blocks = _blocks(numbers, self.block)
        scale = blocks.abs().amax(1, keepdim=True)
        return _bytes(_codes(blocks, scale).flatten()[: numbers.numel()], scale)

    def decode(self, sent: Tensor, numbers: int) -> Tensor:
        """The numbers that `encode` made these bytes of, rounded."""
        blocks = -(-numbers // self.block)
        codes, scale = _parts(sent, (torch.int8, numbers), (torch.float32, blocks))
        return _values(_blocks(codes, self.block), scale.view(-1, 1)).flatten()[:numbers]


@dataclass(frozen=True)
class TopK:
    """The largest numbers of each block of 4,096 in 8 bits; the rest is kept for later walks.

    With error feedback, s the pseudo-gradient of a worker and e what it has not sent yet::

        e <- decay e + s;   q <- Q(top-k(e)), which is sent;   e <- e - q

    Three bytes a number that is sent, and 4 a block: at 1/64 an all-gather among n workers sends
    .048 N (n - 1) bytes, where an all-reduce of float32 sends 8 N (n - 1) / n.

    Args:
        share: of the numbers that is sent, in (0, 1].
        decay: of what was kept, in [0, 1]. Below 1 it takes the place of an outer momentum.

    Source: Sarfi et al., arXiv 2508.15706 (SparseLoCo), with 8 bits in the place of its 2.
    """

    share: float = 1 / 64
    decay: float = 0.95
    block = 4096

    def __post_init__(self) -> None:
        check("share", self.share, lambda v: 0 < v <= 1, "in (0, 1]")
        check("decay", self.decay, lambda v: 0 <= v <= 1, "in [0, 1]")

    @property
    def kept(self) -> int:
        """Numbers that are sent of a block."""
        return max(1, round(self.share * self.block))

    def encode(self, numbers: Tensor) -> Tensor:
        """The bytes of a flat tensor of float32."""
        blocks = _blocks(numbers, self.block)
        places = blocks.abs().topk(self.kept, sorted=False).indices
        values = blocks.gather(1, places)
        scale = values.abs().amax(1, keepdim=True)
        return _bytes(places.to(torch.int16), _codes(values, scale), scale)

    def decode(self, sent: Tensor, numbers: int) -> Tensor:
        """The numbers that `encode` made these bytes of, rounded, and 0 elsewhere."""
        blocks = -(-numbers // self.block)
        count = blocks * self.kept
        places, codes, scale = _parts(
            sent, (torch.int16, count), (torch.int8, count), (torch.float32, blocks)
        )
        values = _values(codes.view(blocks, -1), scale.view(-1, 1))
        whole = torch.zeros(blocks, self.block, device=sent.device)
        whole.scatter_(1, places.view(blocks, -1).long(), values)
        return whole.flatten()[:numbers]


Compression = BFloat16 | EightBits | TopK


@dataclass(frozen=True)
class Coupling:
    """Replicas: every worker keeps an anchor of its own, which is pulled to the centre of all.

    At the end of walk t = 0, 1, 2, …, d what line 7 moves an anchor by, c the centre::

        c = (x_1 + … + x_n) / n;   x_i <- x_i - d_i - min(strength growth(t), 1) (x_i - c)

    Where x_i alone would have been, the pull is taken too, which is the sum of the two steps as
    Parle has it. The centre travels while the next walk is walked, so nothing waits and nothing is
    stale; there is no pull at the end of the first walk. `eval` and `at_average` show the centre,
    `at_anchor` the worker's own anchor: evaluate the centre, with batch norm recomputed there.

    Args:
        strength: share >= 0 of the distance to the centre, at the beginning; the parameter groups
            have it as ``coupling``. Parle: eta / rho. See `automatic_coupling` of an optimizer.
        growth: rate r > -1 of (1 + r)^t, or a schedule as in `widevalley.scoping`. With
            ``TotalGrowth`` the replicas meet at the end of a run.

    With langevin_steps 1 and gamma 0 that is Elastic-SGD, with replicated SGD's growth that.

    Source: Chaudhari et al., arXiv 1707.00424 (Parle); Zhang et al., arXiv 1412.6651 (Elastic);
    Pittorino et al., ICLR 2021 (replicated SGD).
    """

    strength: float = 0.01
    growth: float | Schedule = 0.0

    def __post_init__(self) -> None:
        check("strength", self.strength, *at_least(0))
        check_growth("growth", self.growth)

    def factor(self, t: int) -> float:
        """growth(t), 0 at the first walk."""
        growth = self.growth if callable(self.growth) else Exponential(self.growth)
        factor = growth(t) if t else 0.0
        check(f"growth({t})", factor, *at_least(0))
        return float(factor)


@dataclass(frozen=True)
class Workers:
    """How the workers of a group walk together.

    Args:
        group: a process group or a mesh of one dimension; a worker is a rank of it. Several ranks
            a worker (data-parallel ones, or those of shards) are the other dimension of a mesh.
        delay: steps of the next walk, 0 to langevin_steps, while which the means of the last one
            travel. 0 waits for them.
        fragments: parts >= 1 of the parameters whose walks end in turn, evenly over a walk.
        compression: what is sent of the means: None for all of it, `BFloat16`, `EightBits`,
            `TopK`.
        coupling: None for one anchor of all workers; a `Coupling` for one of each.
        bucket: megabytes > 0 that are sent at once.
        timeout: seconds > 0 to wait for the others, None for those of the group.

    Raises:
        ValueError: a setting out of its range.

    Source: Douillard et al., arXiv 2311.08105 (DiLoCo) and 2501.18512 (Streaming DiLoCo).
    """

    group: "ProcessGroup | DeviceMesh"
    delay: int = 0
    fragments: int = 1
    compression: Compression | None = None
    coupling: Coupling | None = None
    bucket: float = 25.0
    timeout: float | None = None

    def __post_init__(self) -> None:
        check("delay", self.delay, *whole(0))
        check("fragments", self.fragments, *whole(1))
        check("bucket", self.bucket, *positive())
        compression: object = self.compression
        if compression is not None and not isinstance(compression, Compression):
            text = "None, BFloat16(), EightBits() or TopK()"
            raise ValueError(f"compression must be {text}, got {compression!r}")
        coupling: object = self.coupling
        if coupling is not None and not isinstance(coupling, Coupling):
            raise ValueError(f"coupling must be None or a Coupling, got {coupling!r}")
        if self.coupling is not None and (self.delay or self.fragments > 1 or self.compression):
            raise ValueError(
                "coupling must be None with a delay, fragments or a compression: the centre of "
                "replicas travels during a whole walk, and nothing waits for it"
            )
        if self.timeout is not None:
            check("timeout", self.timeout, *positive())


# --- codes --------------------------------------------------------------------------------------


def _blocks(numbers: Tensor, size: int) -> Tensor:
    """Rows of ``size``, the last one filled up with zeros."""
    return torch.nn.functional.pad(numbers, (0, -numbers.numel() % size)).view(-1, size)


def _codes(values: Tensor, scale: Tensor) -> Tensor:
    """-127 to 127 for -scale to scale."""
    return (values * (127 / scale.clamp_min(1e-38))).round_().clamp_(-127, 127).to(torch.int8)


def _values(codes: Tensor, scale: Tensor) -> Tensor:
    return codes.float() * (scale / 127)


def _bytes(*tensors: Tensor) -> Tensor:
    return torch.cat([t.contiguous().view(-1).view(torch.uint8) for t in tensors])


def _parts(sent: Tensor, *layout: tuple[torch.dtype, int]) -> list[Tensor]:
    """The tensors that `_bytes` put side by side."""
    pieces = torch.split(sent, [dtype.itemsize * count for dtype, count in layout])
    return [piece.clone().view(dtype) for piece, (dtype, _) in zip(pieces, layout, strict=True)]
