"""What is trained."""

from widevalley.models.convolutional import AllCNN, LeNet, SmallLeNet
from widevalley.models.fully_connected import DigitsMLP, MnistFC, SmallMnistFC
from widevalley.models.recurrent import PTBLSTM, CharLSTM, SmallCharLSTM, State, detach

__all__ = [
    "PTBLSTM",
    "AllCNN",
    "CharLSTM",
    "DigitsMLP",
    "LeNet",
    "MnistFC",
    "SmallCharLSTM",
    "SmallLeNet",
    "SmallMnistFC",
    "State",
    "detach",
]
