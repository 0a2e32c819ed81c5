"""A residual network with batch norm: its statistics are made anew for the anchor."""

import torch
from digits import error, loader
from torch import Tensor, nn

from widevalley import EntropySGD, recompute_batch_norm


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.convolutions(x))


torch.manual_seed(0)
model = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)),
    nn.Conv2d(1, 16, 3, padding=1),
    Block(16),
    Block(16),
    nn.AdaptiveAvgPool2d(2),
    nn.Flatten(),
    nn.Linear(64, 10),
)
batches, epochs, L = loader(), 8, 5
optimizer = EntropySGD(
    model.parameters(), langevin_lr=0.1, langevin_steps=L, gamma=1e-2, weight_decay=5e-4
)

for epoch in range(epochs):
    for group in optimizer.param_groups:  # the rate that you tuned for SGD is the walk's
        group["langevin_lr"] = 0.1 * (1 - epoch / epochs)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

with optimizer.at_anchor(), recompute_batch_norm(model, batches), torch.no_grad():
    print(f"test error {error(model):.2f} %")
