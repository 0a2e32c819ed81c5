"""Two workers that walk alone and meet once a walk, which is a twentieth of the usual traffic.

torchrun --nproc-per-node 2 local_walks.py
"""

import torch
import torch.distributed as dist
from digits import error, network, train_data
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler

from widevalley import EntropySGD

dist.init_process_group("gloo")
torch.manual_seed(0)  # the same weights everywhere
model = network()
optimizer = EntropySGD(
    model.parameters(), langevin_lr=0.2, langevin_steps=20, process_group=dist.group.WORLD
)
share = DistributedSampler(train_data)
batches = DataLoader(train_data, 32, sampler=share, drop_last=True)

for epoch in range(20):
    share.set_epoch(epoch)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

with optimizer.at_anchor():
    if dist.get_rank() == 0:
        print(f"test error {error(model):.2f} %")
dist.destroy_process_group()
