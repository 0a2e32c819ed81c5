"""What is trained."""

from widevalley.models.fully_connected import DigitsMLP, MnistFC

__all__ = ["DigitsMLP", "MnistFC"]
