"""A character GPT: Muon for matrices and AdamW for the rest, in walks with a read-out.

The rate stays where it is: an average of anchors takes the place of a schedule.
"""

import argparse
import inspect

import torch
from torch import Tensor, nn

from widevalley import LocalEntropy

text = torch.tensor(list(inspect.getsource(argparse).encode()))  # what every Python has
train, test = text[:80_000], text[80_000:]
WINDOW, WIDTH = 32, 48


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, WIDTH)
        self.place = nn.Embedding(WINDOW, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, 4, 4 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), False)
        self.out = nn.Linear(WIDTH, 256)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(WINDOW))

    def forward(self, symbols: Tensor) -> Tensor:
        x = self.embedding(symbols) + self.place.weight
        return self.out(self.layers(x, mask=self.mask, is_causal=True))


def batch(of: Tensor, size: int) -> tuple[Tensor, Tensor]:
    at = torch.randint(len(of) - WINDOW - 1, (size, 1)) + torch.arange(WINDOW)
    return of[at], of[at + 1]


def loss_of(x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())


torch.manual_seed(0)
model = GPT()
matrices = [p for p in model.layers.parameters() if p.dim() == 2]
others = [p for p in model.parameters() if all(p is not m for m in matrices)]
options = {"langevin_steps": 5, "averaging": 1.0, "readout": 0.9}
optimizers = [
    LocalEntropy(torch.optim.Muon(matrices, lr=0.02), **options),
    LocalEntropy(torch.optim.AdamW(others, lr=1e-2), **options),
]

for _ in range(600):
    loss = loss_of(*batch(train, 16))
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()

held_out = batch(test, 64)
walker = loss_of(*held_out).item()
with optimizers[0].at_average(), optimizers[1].at_average(), torch.no_grad():
    print(f"walker {walker:.3f} nats, average {loss_of(*held_out):.3f} nats a character")
