"""What is trained."""

from widevalley.models.convolutional import AllCNN, LeNet, SmallLeNet
from widevalley.models.fully_connected import (
    BoundedLogProbabilities,
    DigitsMLP,
    FullyConnected,
    MnistFC,
    SmallMnistFC,
)
from widevalley.models.gpt import GPT
from widevalley.models.recurrent import PTBLSTM, CharLSTM, SmallCharLSTM, State, detach

__all__ = [
    "GPT",
    "PTBLSTM",
    "AllCNN",
    "BoundedLogProbabilities",
    "CharLSTM",
    "DigitsMLP",
    "FullyConnected",
    "LeNet",
    "MnistFC",
    "SmallCharLSTM",
    "SmallLeNet",
    "SmallMnistFC",
    "State",
    "detach",
]
