"""What has not been measured where it matters.

A step as one CUDA graph, state kept smaller, and workers that may be lost.
"""

from widevalley.experimental.compact_state import CompactEntropyAdam, CompactEntropySGD
from widevalley.experimental.fault_tolerance import Managed
from widevalley.experimental.graphed_step import GraphedStep

__all__ = ["CompactEntropyAdam", "CompactEntropySGD", "GraphedStep", "Managed"]
