"""What is trained on: small data sets, whole in memory."""

from widevalley.data.dataset import Dataset
from widevalley.data.digits import load_digits
from widevalley.data.files import DataUnavailable
from widevalley.data.mnist import load_mnist

__all__ = ["DataUnavailable", "Dataset", "load_digits", "load_mnist"]
