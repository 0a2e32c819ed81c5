"""Many workers: those of `widevalley.optim.workers`, under the package's name."""

from widevalley.optim.workers import BFloat16, Coupling, EightBits, TopK, Workers
from widevalley.optim.workers.batched_replicas import BatchedReplicas

__all__ = ["BFloat16", "BatchedReplicas", "Coupling", "EightBits", "TopK", "Workers"]
