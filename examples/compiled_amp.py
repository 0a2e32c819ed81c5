"""A compiled model under autocast, with a GradScaler."""

import torch
from digits import error, loader, network
from torch import nn

from widevalley import EntropyAdam

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
model = network().to(device)
optimizer = EntropyAdam(model.parameters(), lr=5e-3, langevin_lr=0.1, langevin_steps=5)
compiled, scaler = torch.compile(model), torch.amp.GradScaler(device)

for _ in range(10):
    for x, y in loader():
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(compiled(x.to(device)), y.to(device))
        scaler.scale(loss).backward()
        scaler.step(optimizer)  # a step that overflowed is left out: the walk waits for the next
        scaler.update()

with optimizer.at_anchor():
    print(f"test error {error(model.cpu()):.2f} %")
