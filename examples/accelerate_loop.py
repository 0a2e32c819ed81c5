"""accelerate: gradients of two batches a step, evaluated and saved at the anchor."""

import torch
from accelerate import Accelerator
from digits import error, loader, network
from torch import nn

from widevalley import LocalEntropy

torch.manual_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model = network()
optimizer = LocalEntropy(torch.optim.AdamW(model.parameters(), lr=3e-3), langevin_steps=10)
model, optimizer, batches = accelerator.prepare(model, optimizer, loader())

for _ in range(10):
    for x, y in batches:
        with accelerator.accumulate(model):
            accelerator.backward(nn.functional.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()

with optimizer.optimizer.at_anchor():  # the prepared optimizer hands on train() and eval() alone
    accelerator.save_model(model, "model")
    print(f"test error {error(model):.2f} %")
