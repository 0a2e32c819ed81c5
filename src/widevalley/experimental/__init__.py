"""What has not been measured where it matters: state kept smaller."""

from widevalley.experimental.compact_state import CompactEntropyAdam, CompactEntropySGD

__all__ = ["CompactEntropyAdam", "CompactEntropySGD"]
