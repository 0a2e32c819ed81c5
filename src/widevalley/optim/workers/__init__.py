"""Many workers: what an optimizer of this package does beside others of its process group.

settings.py       how they walk together, what they send: what a user chooses
_connected.py     one of them: what all must have in common, what a checkpoint holds
_local_walks.py   the end of a walk, where means are averaged
_replicas.py      the end of a walk, where anchors of their own are pulled together
_communication.py means over the group, in buckets, counted
_agreement.py     whether all are at one point
batched_replicas.py   replicas of a small network in one process
"""

from widevalley.optim.workers.settings import (
    BFloat16,
    Compression,
    Coupling,
    EightBits,
    TopK,
    Workers,
)

__all__ = ["BFloat16", "Compression", "Coupling", "EightBits", "TopK", "Workers"]
