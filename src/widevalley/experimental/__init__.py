"""What has not been measured where it matters: a step as one CUDA graph, and state kept smaller."""

from widevalley.experimental.compact_state import CompactEntropyAdam, CompactEntropySGD
from widevalley.experimental.graphed_step import GraphedStep

__all__ = ["CompactEntropyAdam", "CompactEntropySGD", "GraphedStep"]
