"""A plain loop with all that loops have: a schedule, clipping, two batches a step, resuming."""

import torch
from digits import error, loader, network
from torch import nn

from widevalley import EntropySGD

torch.manual_seed(0)
model, batches, epochs = network(), loader(), 10
optimizer = EntropySGD(model.parameters(), langevin_lr=0.2, langevin_steps=10, gamma=1e-3)
steps = epochs * len(batches) // 2
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.1)

for epoch in range(epochs):
    for k, (x, y) in enumerate(batches):
        (nn.functional.cross_entropy(model(x), y) / 2).backward()
        if k % 2:
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    if epoch == epochs // 2:  # a checkpoint to resume from may be taken amid a walk
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(saved, "resume.pt")
        loaded = torch.load("resume.pt", weights_only=True)
        model.load_state_dict(loaded["model"])
        optimizer.load_state_dict(loaded["optimizer"])

with optimizer.at_anchor():  # the weights that the method stands for
    torch.save(model.state_dict(), "model.pt")
    print(f"test error {error(model):.2f} %")
