"""Convolutional networks."""

from __future__ import annotations

from torch import nn

from widevalley.models.dropout import dropout as dropout_layers


class LeNet(nn.Sequential):
    """The paper's LeNet with batch norm, for MNIST: 131,220 parameters.

    Twice convolution 5x5, ReLU, max-pooling, batch norm, dropout, with 20 channels pooled by 3
    and 50 channels pooled by 2; then 200-500-10, with ReLU and dropout between. Every layer has
    a bias; batch norm has a scale and a shift. Source: the paper, section 5.

    Inputs are rows of 784 pixels, as `load_mnist` gives them; outputs are (batch, 10) logits.

    Args:
        dropout: share of values dropped after each hidden block while training, in [0, 1). The
            paper takes 0.25 for Entropy-SGD and 0.5 for Adam.
        input_dropout: share of pixels dropped while training, in [0, 1); the paper drops none.

    Raises:
        ValueError: a dropout outside [0, 1).
    """

    def __init__(self, *, dropout: float = 0.25, input_dropout: float = 0.0) -> None:
        super().__init__(
            *dropout_layers("input_dropout", input_dropout),
            nn.Unflatten(1, (1, 28, 28)),
            *_conv_pool_norm(1, 20, pool=3),
            *dropout_layers("dropout", dropout),
            *_conv_pool_norm(20, 50, pool=2),
            *dropout_layers("dropout", dropout),
            nn.Flatten(),
            nn.Linear(200, 500),
            nn.ReLU(),
            *dropout_layers("dropout", dropout),
            nn.Linear(500, 10),
        )


class SmallLeNet(nn.Sequential):
    """The network of the paper's first spectrum, for MNIST: 47,658 parameters.

    Twice convolution 5x5, ReLU, max-pooling by 2, with 10 and 20 channels; then 320-128-10 with
    ReLU between. Source: the paper, Fig. 1.

    Inputs are rows of 784 pixels, as `load_mnist` gives them; outputs are (batch, 10) logits.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 10, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(10, 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(320, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )


class AllCNN(nn.Sequential):
    """The paper's All-CNN with batch norm, for CIFAR-10: 1,667,166 parameters.

    Convolutions with a bias, each followed by batch norm and ReLU, the last one too: three 3x3
    of 96 channels, three 3x3 of 192, two 3x3 of 192 and one 1x1 of 10; the third and the sixth
    have stride 2. The mean over the 8x8 places that are left gives the logits, so none is
    negative. Source: the paper, section 5, after All-CNN-C of Springenberg et al. (2014).

    Inputs are (batch, 3, 32, 32) images, as `load_cifar10` gives them; outputs (batch, 10).

    Args:
        dropout: share of values dropped after each convolution of stride 2 while training.
        input_dropout: share of inputs dropped while training.

    Raises:
        ValueError: a dropout outside [0, 1).
    """

    def __init__(self, *, dropout: float = 0.5, input_dropout: float = 0.2) -> None:
        super().__init__(
            *dropout_layers("input_dropout", input_dropout),
            *_conv_norm(3, 96),
            *_conv_norm(96, 96),
            *_conv_norm(96, 96, stride=2),
            *dropout_layers("dropout", dropout),
            *_conv_norm(96, 192),
            *_conv_norm(192, 192),
            *_conv_norm(192, 192, stride=2),
            *dropout_layers("dropout", dropout),
            *_conv_norm(192, 192),
            *_conv_norm(192, 192),
            *_conv_norm(192, 10, kernel=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def _conv_pool_norm(before: int, after: int, *, pool: int) -> list[nn.Module]:
    # The maximum of ReLU is ReLU of the maximum, and that is fewer values.
    convolution = nn.Conv2d(before, after, kernel_size=5)
    return [convolution, nn.MaxPool2d(pool), nn.ReLU(), nn.BatchNorm2d(after)]


def _conv_norm(before: int, after: int, *, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]
