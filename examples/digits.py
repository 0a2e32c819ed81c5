"""What the examples share: handwritten digits from scikit-learn, a network, and its test error."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

pixels, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
pixels = pixels.float() / 16
train_data = TensorDataset(pixels[:1400], labels[:1400])
test_data = TensorDataset(pixels[1400:], labels[1400:])


def loader(batch_size: int = 32) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(train_data, batch_size, shuffle=True, drop_last=True)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@torch.no_grad()
def error(model: nn.Module) -> float:
    """Of the test set, in percent."""
    inputs, targets = test_data.tensors
    return 100 * (model(inputs).argmax(1) != targets).float().mean().item()
