"""Lightning Fabric: its wrapper hands train() and eval() on; checkpoints resume bit for bit."""

import torch
from digits import error, loader, network
from lightning_fabric import Fabric
from torch import nn

from widevalley import EntropySGD

torch.manual_seed(0)
fabric = Fabric(accelerator="cpu", devices=1)
bare = network()
model, optimizer = fabric.setup(bare, EntropySGD(bare.parameters(), langevin_lr=0.2))
batches = fabric.setup_dataloaders(loader())

for _ in range(10):
    optimizer.train()
    for x, y in batches:
        optimizer.zero_grad()
        fabric.backward(nn.functional.cross_entropy(model(x), y))
        optimizer.step()
    fabric.save("resume.ckpt", {"model": model, "optimizer": optimizer})

optimizer.eval()
print(f"test error {error(model):.2f} %")
