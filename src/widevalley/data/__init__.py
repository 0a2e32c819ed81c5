"""What is trained on: small data sets, whole in memory."""

from widevalley.data.cifar10 import load_cifar10
from widevalley.data.corpus import Corpus, contiguous, windows
from widevalley.data.dataset import Dataset
from widevalley.data.digits import load_digits
from widevalley.data.files import DataUnavailable
from widevalley.data.label_noise import (
    first,
    in_two_classes,
    with_label_noise,
    with_random_labels,
)
from widevalley.data.mnist import load_mnist
from widevalley.data.other import in_characters, rotated
from widevalley.data.ptb import load_ptb
from widevalley.data.war_and_peace import load_war_and_peace

__all__ = [
    "Corpus",
    "DataUnavailable",
    "Dataset",
    "contiguous",
    "first",
    "in_characters",
    "in_two_classes",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "load_ptb",
    "load_war_and_peace",
    "rotated",
    "windows",
    "with_label_noise",
    "with_random_labels",
]
